"""Sending a run to the background or to the queue, and saying what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dapoctl.cli.output import command, emit
from dapoctl.errors import UserError
from dapoctl.runs.jobs.submit import Background
from dapoctl.views.text import one_line


def asked_background(detach: bool, queue: bool, priority: int | None, gpus: int | None) -> Background | None:
    """How to run in the background; None for the foreground.

    Raises:
        UserError: the options contradict each other.
    """
    if detach and queue:
        raise UserError("--detach starts now and --queue waits for its turn: leave one of them out")
    if priority is not None and not queue:
        raise UserError(f"--priority {priority} is about the order of the queue: add --queue")
    if gpus is not None and not (detach or queue):
        raise UserError(f"--gpus {gpus} is for runs in the background: add --detach or --queue")
    return Background(queue, priority or 0, gpus) if detach or queue else None


def announce(found: Sequence[dict[str, Any]], runs_dir: Path | None) -> None:
    """What became of each, and what to type next."""
    for item in found:
        emit(one_line(f"{item['state']} {item['id']} {item['words']}".strip()))
    last = found[-1]["id"]
    if len(found) == 1:
        emit(f"  {'watch':<10}{command('logs -f', last, runs_dir)}")
        emit(f"  {'stop':<10}{command('stop', last, runs_dir)}")
    if any(item["state"] == "queued" for item in found):
        place = f" --runs-dir {runs_dir}" if runs_dir is not None else ""
        emit(f"  {'queue':<10}dapoctl queue list{place}")
