"""One way to start a run in the background or to put it in the queue."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapoctl.errors import StorageError, UserError

if TYPE_CHECKING:
    from dapoctl.runs.tickets import Ticket


@dataclass(frozen=True)
class Background:
    """What the options ask for."""

    queue: bool
    priority: int
    gpus: int | None


def check(asked: Background, config: dict[str, Any]) -> None:
    """Refuse a run that can never start on this machine, before anything is written.

    Raises:
        UserError: see `needed`.
        StorageError: see `lease_folder`.
    """
    from dapoctl.runs.jobs.control import needed
    from dapoctl.runs.jobs.leases import devices, lease_folder

    needed(config, asked.gpus, devices())
    lease_folder()


def send_off(directories: Sequence[Path], asked: Background, config: dict[str, Any], new: bool) -> list[dict[str, Any]]:
    """Start or queue runs; for each its id, state and a message.

    Args:
        new: the folders were created for this; those that can be neither started nor queued are removed again

    Raises:
        UserError: no device is free, or the run is already running.
        StorageError: leases or the queue cannot be written, or a run was started in vain.
    """
    from dapoctl.runs.jobs.control import queue_run, start_now, ticket_for
    from dapoctl.runs.jobs.scheduler import outlook
    from dapoctl.runs.jobs.waiter import start_or_wait

    if not asked.queue:
        (directory,) = directories
        with _gone_if_refused(directories if new else ()):
            leased = start_now(directory, ticket_for(directory, config, asked.gpus))
        return [_entry(directory, "started", f"on {', '.join(device.label for device in leased)}")]
    with _gone_if_refused(directories if new else ()):
        queued: list[Ticket] = [
            queue_run(directory, ticket_for(directory, config, asked.gpus, asked.priority)) for directory in directories
        ]
    root = directories[0].parent
    started = start_or_wait(root)
    waiting = {decision.ticket.run: (number, decision.why) for number, decision in enumerate(outlook(root), 1)}
    entries = []
    for ticket, directory in zip(queued, directories, strict=True):
        if ticket.run in waiting and ticket.run not in started:
            number, why = waiting[ticket.run]
            entries.append(_entry(directory, "queued", f"place {number} of {len(waiting)}; {why}"))
        else:
            entries.append(_entry(directory, *_outcome(directory)))
    return entries


@contextlib.contextmanager
def _gone_if_refused(directories: Sequence[Path]) -> Iterator[None]:
    """Remove new runs again that nobody began to start or queued."""
    from dapoctl.runs.attempts import was_started
    from dapoctl.runs.tickets import find_ticket

    try:
        yield
    except (UserError, StorageError):
        for directory in directories:
            if not was_started(directory, 1) and find_ticket(directory.parent, directory.name) is None:
                shutil.rmtree(directory, ignore_errors=True)
        raise


def _outcome(directory: Path) -> tuple[str, str]:
    from dapoctl.runs.summary import read_run

    summary = read_run(directory)
    return ("failed", summary.why) if summary.state == "failed" else ("started", "")


def _entry(directory: Path, state: str, words: str) -> dict[str, Any]:
    return {"id": directory.name, "state": state, "words": words, "directory": str(directory)}
