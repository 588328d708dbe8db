"""Which run starts next: decided under the queue's lock by any command, screen or ending supervisor.

Strictly in order: a run that needs more devices than are free reserves those that it may use, so that
a stream of small runs cannot starve it.

In a store that several users share everyone's processes start that one's own runs and no others: what is started acts as who
starts it. Between users the leases decide.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dapoctl.errors import DapoctlError
from dapoctl.runs.attempts import LOCK, was_started
from dapoctl.runs.jobs.launch import LaunchError, launch
from dapoctl.runs.jobs.leases import Device, Lease, devices, foreign, give_back, holder, lease
from dapoctl.runs.jobs.queue import LOCK_FILE, changing, take
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.ownership import not_mine, not_my_run
from dapoctl.runs.tickets import FOLDER, Ticket, state, ticket_file, tickets

IN_USE = "in use by"
LEASED = "leased by"


@dataclass(frozen=True)
class Decision:
    """What happens to a ticket now."""

    ticket: Ticket
    devices: tuple[Device, ...] = ()
    """Those that it gets; empty while it waits"""
    why: str = ""
    """What it waits for"""


def decide(line: Sequence[Ticket], all_devices: Sequence[Device], taken: Mapping[str, str]) -> list[Decision]:
    """What happens to each ticket of `line`.

    Args:
        all_devices: every device of this machine
        taken: by key, why a device is not free
    """
    decisions = []
    free = {device.key: device for device in all_devices if device.key not in taken}
    reserved_by = ""
    for ticket in line:
        usable = [device for device in all_devices if not ticket.only or device.key in ticket.only]
        free_usable = [device for device in usable if device.key in free]
        if ticket.held:
            decisions.append(Decision(ticket, why="held by hand; `dapoctl queue release` lets it go on"))
        elif len(usable) < ticket.need:
            decisions.append(
                Decision(ticket, why=f"needs {_count(ticket.need, all_devices)}; this machine has {len(usable)}")
            )
        elif len(free_usable) >= ticket.need:
            decisions.append(Decision(ticket, tuple(free_usable[: ticket.need])))
            for device in free_usable[: ticket.need]:
                del free[device.key]
        else:
            decisions.append(Decision(ticket, why=_reason(ticket, usable, all_devices, taken, reserved_by)))
            # What it waits for is reserved: those behind it do not get it.
            for device in usable:
                free.pop(device.key, None)
            reserved_by = reserved_by or ticket.run
    return decisions


def _reason(
    ticket: Ticket, usable: Sequence[Device], all_devices: Sequence[Device], taken: Mapping[str, str], reserved_by: str
) -> str:
    reasons = [f"{device.label} {taken[device.key]}" for device in usable if device.key in taken]
    text = f"waits for {_count(ticket.need, all_devices)}: {', '.join(reasons)}"
    reserved = sum(device.key not in taken for device in usable)
    if reserved and reserved_by:
        text += f"{'; ' if reasons else ''}{reserved} free, kept for `{reserved_by}` ahead of it"
    return text


def _count(need: int, all_devices: Sequence[Device]) -> str:
    kind = "GPU" if any(device.is_gpu for device in all_devices) else "slot"
    return f"{need} {kind}{'s' if need > 1 else ''}"


def busy(all_devices: Sequence[Device]) -> dict[str, str]:
    """By key, why a device is not free."""
    reasons = {}
    for device in all_devices:
        if user := holder(device):
            reasons[device.key] = f"{LEASED} {user}"
        elif user := foreign(device):
            reasons[device.key] = user
    return reasons


def not_startable(root: Path, ticket: Ticket) -> str:
    """Why this process does not start a waiting run when its turn comes, in words; empty if it does.

    Only what this user alone can have written is started: the ticket, the run's folder, and the files in it that name a Python,
    its environment and components.
    """
    why = not_mine(ticket_file(root, ticket.run)) or not_my_run(root / ticket.run)
    return f"not yours to start: {why}" if why else ""


def outlook(root: Path) -> list[Decision]:
    """What happens to each waiting run, without starting any.

    Raises:
        UserError: DAPOCTL_SLOTS is not a count.
    """
    line, queue_state = tickets(root), state(root)
    if queue_state.held:
        return [
            Decision(t, why=f"the queue is held: {queue_state.why}; `dapoctl queue release` lets it go on")
            for t in line
        ]
    foreign_ones = {ticket.run: why for ticket in line if (why := not_startable(root, ticket))}
    all_devices = devices()
    mine = [ticket for ticket in line if ticket.run not in foreign_ones]
    decisions = {decision.ticket.run: decision.why for decision in decide(mine, all_devices, busy(all_devices))}
    later = "starts as soon as a process looks at the queue"
    return [Decision(t, why=foreign_ones.get(t.run) or decisions[t.run] or later) for t in line]


def blocked_by_memory(root: Path) -> bool:
    """Whether a run waits only for unleased memory, such as what an ended process still holds."""
    decisions = outlook(root)
    return any(IN_USE in decision.why and LEASED not in decision.why for decision in decisions)


def may_start(root: Path) -> bool:
    """Whether a run of this user waits that this machine can start sooner or later.

    Raises:
        UserError: DAPOCTL_SLOTS is not a count.
    """
    line = [ticket for ticket in tickets(root) if not ticket.held and _is_mine(root, ticket)]
    if not line or state(root).held:
        return False
    keys = [device.key for device in devices()]
    return any(sum(not ticket.only or key in ticket.only for key in keys) >= ticket.need for ticket in line)


def _is_mine(root: Path, ticket: Ticket) -> bool:
    try:
        return ticket_file(root, ticket.run).stat().st_uid == os.geteuid()
    except (OSError, DapoctlError):
        return False


def ready(root: Path) -> bool:
    """Whether a run waits whose turn it is.

    Raises:
        UserError: DAPOCTL_SLOTS is not a count.
    """
    if state(root).held:
        return False
    all_devices = devices()
    return any(decision.devices for decision in decide(tickets(root), all_devices, busy(all_devices)))


def schedule(root: Path, wait: bool = True) -> list[str]:
    """Start every waiting run whose turn it is; return their ids.

    Args:
        wait: for a process that is changing the queue; if false, leave the scheduling to it

    Raises:
        StorageError: the store cannot be written.
        UserError: DAPOCTL_SLOTS is not a count.
    """
    started: list[str] = []
    if not tickets(root) or (not wait and is_locked(root / FOLDER / LOCK_FILE)):
        return started
    with changing(root, make=False):
        if state(root).held:
            return started
        mine = [ticket for ticket in tickets(root) if not not_startable(root, ticket)]
        line = [ticket for ticket in mine if not _is_left_over(root, ticket)]
        all_devices = devices()
        for decision in decide(line, all_devices, busy(all_devices)):
            if decision.devices and _start(root, decision):
                started.append(decision.ticket.run)
    return started


def schedule_if_possible(root: Path) -> tuple[list[str], str]:
    """`schedule` for those who came to look: (the runs that were started, why not all whose turn it is)."""
    try:
        return schedule(root), ""
    except (DapoctlError, OSError) as error:
        return [], str(error)


def _is_left_over(root: Path, ticket: Ticket) -> bool:
    """Whether a ticket is left over: a process died between starting its run and removing it, or the run is gone."""
    directory = root / ticket.run
    left_over = not directory.is_dir() or was_started(directory, ticket.attempt) or is_locked(directory / LOCK)
    if left_over:
        take(root, ticket.run)
    return left_over


def _start(root: Path, decision: Decision) -> bool:
    ticket, directory = decision.ticket, root / decision.ticket.run
    leases: list[Lease] = []
    lock = try_lock(directory / LOCK)
    try:
        if lock is None:
            return False
        for device in decision.devices:
            leased = lease(device, ticket.run)
            if leased is None:
                return False
            leases.append(leased)
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
