"""Sending a run to the background or to the queue, and saying what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapoctl.cli.output import command, emit, one_line
from dapoctl.errors import UserError

if TYPE_CHECKING:
    from dapoctl.runs.queue import Ticket


@dataclass(frozen=True)
class Background:
    """What the options ask for."""

    queue: bool
    priority: int
    gpus: int | None


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


def check(asked: Background, config: dict[str, Any]) -> None:
    """Refuse what this machine can never run, before anything is written.

    Raises:
        UserError: see `needed`.
    """
    from dapoctl.runs.control import needed
    from dapoctl.runs.devices import devices

    needed(config, asked.gpus, devices())


def send_off(directories: Sequence[Path], asked: Background, config: dict[str, Any], new: bool) -> list[dict[str, Any]]:
    """Start or queue runs; for each its id, state and words about it.

    Args:
        new: the folders were made for this, and one that cannot be started at once is removed again

    Raises:
        UserError: nothing is free, or somebody works on it already.
    """
    import shutil

    from dapoctl.runs.control import queue_run, start_now, ticket_for
    from dapoctl.runs.scheduler import outlook, schedule

    if not asked.queue:
        (directory,) = directories
        try:
            got = start_now(directory, ticket_for(directory, config, asked.gpus))
        except UserError:
            if new:
                shutil.rmtree(directory, ignore_errors=True)
            raise
        return [_said(directory, "started", f"on {', '.join(device.label for device in got)}")]
    queued: list[Ticket] = [
        queue_run(directory, ticket_for(directory, config, asked.gpus, asked.priority)) for directory in directories
    ]
    root = directories[0].parent
    started = schedule(root)
    waiting = {each.ticket.run: (place, each.why) for place, each in enumerate(outlook(root), 1)}
    found = []
    for ticket, directory in zip(queued, directories, strict=True):
        if ticket.run in waiting and ticket.run not in started:
            place, why = waiting[ticket.run]
            found.append(_said(directory, "queued", f"place {place} of {len(waiting)}; {why}"))
        else:
            found.append(_said(directory, *_outcome(directory)))
    return found


def _outcome(directory: Path) -> tuple[str, str]:
    from dapoctl.runs.summary import read_run

    summary = read_run(directory)
    return ("failed", summary.why) if summary.state == "failed" else ("started", "")


def _said(directory: Path, state: str, words: str) -> dict[str, Any]:
    return {"id": directory.name, "state": state, "words": words, "directory": str(directory)}


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
