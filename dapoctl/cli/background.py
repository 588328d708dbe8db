"""Sending a run to the background or to the queue, and reporting the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dapoctl.cli.output import command, emit
from dapoctl.errors import UserError
from dapoctl.runs.jobs.submit import Background
from dapoctl.views.text import one_line


def asked_background(detach: bool, queue: bool, priority: int | None, gpus: int | None) -> Background | None:
    """The background options; None for the foreground.

    Raises:
        UserError: the options contradict each other.
    """
    if detach and queue:
        raise UserError("--detach starts now and --queue waits for its turn: choose one")
    if priority is not None and not queue:
        raise UserError(f"--priority {priority} sets the order of the queue: add --queue")
    if gpus is not None and not (detach or queue):
        raise UserError(f"--gpus {gpus} is for runs in the background: add --detach or --queue")
    return Background(queue, priority or 0, gpus) if detach or queue else None


def announce(submitted: Sequence[dict[str, Any]], runs_dir: Path | None) -> None:
    """Print the state of each run, and the commands to type next."""
    for run in submitted:
        emit(one_line(f"{run['state']} {run['id']} {run['words']}".strip()))
    last = submitted[-1]["id"]
    if len(submitted) == 1:
        emit(f"  {'watch':<10}{command('logs -f', last, runs_dir)}")
        emit(f"  {'stop':<10}{command('stop', last, runs_dir)}")
    if any(run["state"] == "queued" for run in submitted):
        option = f" --runs-dir {runs_dir}" if runs_dir is not None else ""
        emit(f"  {'queue':<10}dapoctl queue list{option}")
