"""Who goes next: decided under the queue's lock by whichever command, screen or ending supervisor comes by.

Strictly in order: a run that needs more devices than are free keeps those that it may use from everyone behind it, so that
a stream of small runs cannot starve it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dapoctl.runs.attempts import LOCK, was_started
from dapoctl.runs.jobs.launch import LaunchError, launch
from dapoctl.runs.jobs.leases import Device, Lease, devices, foreign, give_back, holder, lease
from dapoctl.runs.jobs.queue import LOCK_FILE, changing, take
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.tickets import FOLDER, Ticket, state, tickets

IN_USE = "in use by"
LEASED = "leased by"


@dataclass(frozen=True)
class Decision:
    """What becomes of a ticket now."""

    ticket: Ticket
    devices: tuple[Device, ...] = ()
    """Those that it gets; none while it waits"""
    why: str = ""
    """What it waits for"""


def decide(line: Sequence[Ticket], there: Sequence[Device], taken: Mapping[str, str]) -> list[Decision]:
    """What becomes of each ticket of `line`.

    Args:
        there: every device of this machine
        taken: by key, why a device is not free
    """
    found = []
    free = {device.key: device for device in there if device.key not in taken}
    ahead = ""
    for ticket in line:
        mine = [device for device in there if not ticket.only or device.key in ticket.only]
        room = [device for device in mine if device.key in free]
        if ticket.held:
            found.append(Decision(ticket, why="held by hand; `dapoctl queue release` lets it go on"))
        elif len(mine) < ticket.need:
            found.append(Decision(ticket, why=f"needs {_count(ticket.need, there)}; this machine has {len(mine)}"))
        elif len(room) >= ticket.need:
            found.append(Decision(ticket, tuple(room[: ticket.need])))
            for device in room[: ticket.need]:
                del free[device.key]
        else:
            found.append(Decision(ticket, why=_reason(ticket, mine, there, taken, ahead)))
            # What it waits for is kept from those behind it.
            for device in mine:
                free.pop(device.key, None)
            ahead = ahead or ticket.run
    return found


def _reason(
    ticket: Ticket, mine: Sequence[Device], there: Sequence[Device], taken: Mapping[str, str], ahead: str
) -> str:
    busy = [f"{device.label} {taken[device.key]}" for device in mine if device.key in taken]
    text = f"waits for {_count(ticket.need, there)}: {', '.join(busy)}"
    kept = sum(device.key not in taken for device in mine)
    if kept and ahead:
        text += f"{'; ' if busy else ''}{kept} free, kept for `{ahead}` ahead of it"
    return text


def _count(need: int, there: Sequence[Device]) -> str:
    kind = "GPU" if any(device.is_gpu for device in there) else "slot"
    return f"{need} {kind}{'s' if need > 1 else ''}"


def busy(there: Sequence[Device]) -> dict[str, str]:
    """By key, why a device is not free."""
    found = {}
    for device in there:
        if by := holder(device):
            found[device.key] = f"{LEASED} {by}"
        elif by := foreign(device):
            found[device.key] = by
    return found


def outlook(root: Path) -> list[Decision]:
    """What becomes of each waiting run, without starting any.

    Raises:
        UserError: DAPOCTL_SLOTS is no count.
    """
    line, whole = tickets(root), state(root)
    if whole.held:
        return [Decision(t, why=f"the queue is held: {whole.why}; `dapoctl queue release` lets it go on") for t in line]
    there = devices()
    return [
        Decision(each.ticket, why=each.why or "starts as soon as somebody looks at the queue")
        for each in decide(line, there, busy(there))
    ]


def blocked_by_memory(root: Path) -> bool:
    """Whether a run waits only for memory that nobody has leased, such as what an ended process still holds."""
    found = outlook(root)
    return any(IN_USE in each.why and LEASED not in each.why for each in found)


def schedule(root: Path, wait: bool = True) -> list[str]:
    """Start every waiting run whose turn it is; their ids.

    Args:
        wait: for whoever changes the queue now; else leave it to them

    Raises:
        StorageError: the store cannot be written.
        UserError: DAPOCTL_SLOTS is no count.
    """
    started: list[str] = []
    if not tickets(root) or (not wait and is_locked(root / FOLDER / LOCK_FILE)):
        return started
    with changing(root):
        if state(root).held:
            return started
        line = [ticket for ticket in tickets(root) if not _done_with(root, ticket)]
        there = devices()
        for each in decide(line, there, busy(there)):
            if each.devices and _start(root, each):
                started.append(each.ticket.run)
    return started


def _done_with(root: Path, ticket: Ticket) -> bool:
    """Whether a ticket is left over: somebody died between starting its run and removing it, or the run is gone."""
    directory = root / ticket.run
    over = not directory.is_dir() or was_started(directory, ticket.attempt) or is_locked(directory / LOCK)
    if over:
        take(root, ticket.run)
    return over


def _start(root: Path, decision: Decision) -> bool:
    ticket, directory = decision.ticket, root / decision.ticket.run
    leases: list[Lease] = []
    lock = try_lock(directory / LOCK)
    try:
        if lock is None:
            return False
        for device in decision.devices:
            got = lease(device, ticket.run)
            if got is None:
                return False
            leases.append(got)
        with contextlib.suppress(LaunchError):
            launch(directory, ticket.attempt, leases, lock)
            return True
        return False
    finally:
        if was_started(directory, ticket.attempt):
            take(root, ticket.run)
        give_back(leases)
        if lock is not None:
            release(lock)
