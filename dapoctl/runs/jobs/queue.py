"""The queue: a ticket on disk for each run that waits, in an order that is the same for every process.

A process that changes it holds its lock. No process owns it: see `scheduler`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from dapoctl.errors import StorageError, UserError
from dapoctl.runs.files import SCHEMA, storage_errors, write_json
from dapoctl.runs.locks import locked
from dapoctl.runs.ownership import MINE, not_mine
from dapoctl.runs.processes import boot_id
from dapoctl.runs.tickets import FOLDER, STATE, State, Ticket, find_ticket, state, ticket_file, tickets

LOCK_FILE = "lock"
RESTARTED = "this machine was restarted"


@contextlib.contextmanager
def changing(root: Path, make: bool = True) -> Iterator[None]:
    """Hold the queue's lock, until the block or the process ends.

    Args:
        make: make a store that is not there; who only looks at its queue must not make one anew that was moved away

    Raises:
        StorageError: the store cannot be written, or is not there and not to be made.
    """
    with storage_errors(root):
        (root / FOLDER).mkdir(parents=make, exist_ok=True)
    with locked(root / FOLDER / LOCK_FILE):
        _notice_restart(root)
        yield


def _notice_restart(root: Path) -> None:
    """Hold the queue if this machine was restarted while runs waited, until the user releases it."""
    host, before = os.uname().nodename, state(root)
    if before.boots.get(host) == boot_id():
        return
    restarted = host in before.boots and bool(tickets(root))
    after = replace(before, boots={**before.boots, host: boot_id()})
    if restarted and not before.held:
        after = replace(after, held=True, why=RESTARTED)
    _write_state(root, after)


def _write_state(root: Path, value: State) -> None:
    write_json(root / FOLDER / STATE, {"schema": SCHEMA, **asdict(value)})


def put(root: Path, ticket: Ticket) -> None:
    """Write a ticket; the caller is `changing` the queue.

    Raises:
        UserError: another user's ticket is there; written by this one it would be this one's.
        StorageError: the store cannot be written.
    """
    path = ticket_file(root, ticket.run)
    if why := not_mine(path):
        raise UserError(f"the place of `{ticket.run}` in the queue is not yours to change: {why}")
    write_json(path, {"schema": SCHEMA, **asdict(ticket)}, mode=MINE)


def take(root: Path, run: str) -> None:
    """Remove a ticket; the caller is `changing` the queue."""
    with contextlib.suppress(OSError):
        ticket_file(root, run).unlink()


def enqueue(root: Path, ticket: Ticket) -> Ticket:
    """Put a run at the end of its priority's queue; return the ticket with its order.

    Raises:
        UserError: it is already queued.
        StorageError: the store cannot be written.
    """
    with changing(root):
        if find_ticket(root, ticket.run) is not None:
            raise UserError(f"run `{ticket.run}` is already queued; `dapoctl queue list` shows where")
        now = time.time()
        last = max((other.order for other in tickets(root) if other.priority == ticket.priority), default=0.0)
        ticket = replace(ticket, queued=now, order=max(now, last + 1e-3))
        put(root, ticket)
    return ticket


def drop(root: Path, run: str) -> None:
    """Remove a run from the queue; the run itself stays.

    Raises:
        UserError: it is not queued.
        StorageError: the ticket is another user's and stays.
    """
    with changing(root):
        _waiting(root, run)
        take(root, run)
        if find_ticket(root, run) is not None:
            raise StorageError(f"`{ticket_file(root, run)}` cannot be removed: {not_mine(ticket_file(root, run))}")


def hold(root: Path, run: str | None = None, held: bool = True) -> None:
    """Hold a run, or with None the whole queue: nothing starts until it is released by `held=False`.

    Raises:
        UserError: the run is not queued.
    """
    with changing(root):
        if run is None:
            _write_state(root, replace(state(root), held=held, why="held by hand" if held else ""))
        else:
            put(root, replace(_waiting(root, run), held=held))


def move(root: Path, run: str, to: str) -> list[Ticket]:
    """Move a run to the `top` or `bottom` of its priority's queue, `up` or `down` by one, or to place N; return the queue.

    Raises:
        UserError: it is not queued, or `to` is none of these.
    """
    with changing(root):
        ticket = _waiting(root, run)
        line = [other for other in tickets(root) if other.priority == ticket.priority]
        current = next(index for index, other in enumerate(line) if other.run == run)
        positions = {"top": 0, "bottom": len(line) - 1, "up": current - 1, "down": current + 1}
        if to not in positions and not (to.isdecimal() and int(to) >= 1):
            raise UserError(f"`{to}` is not a place in the queue: top, bottom, up, down, or a number from 1")
        target = min(max(positions.get(to, int(to) - 1 if to.isdecimal() else 0), 0), len(line) - 1)
        line.insert(target, line.pop(current))
        for order, other in zip(sorted(other.order for other in line), line, strict=True):
            if other.order != order:
                put(root, replace(other, order=order))
        return tickets(root)


def _waiting(root: Path, run: str) -> Ticket:
    ticket = find_ticket(root, run)
    if ticket is None:
        waiting = ", ".join(ticket.run for ticket in tickets(root)[:5])
        raise UserError(f"run `{run}` is not in the queue; " + (f"these are: {waiting}" if waiting else "it is empty"))
    return ticket
