"""What the queue and the devices look like now, read in a thread, and what can be asked of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from dapoctl.runs.jobs.leases import GIB, SLOTS, Device, slot_count
from dapoctl.runs.jobs.queue import drop, hold, move
from dapoctl.runs.jobs.scheduler import LEASED, Decision, may_start, outlook
from dapoctl.runs.jobs.waiter import start_or_wait, waiter
from dapoctl.runs.tickets import state
from dapoctl.views.runs import NOBODY, watched_words
from dapoctl.views.text import cell, line

BAR = 10
NARROW = 60


@dataclass(frozen=True)
class Waiting:
    """The queue as it stands."""

    line: tuple[Decision, ...] = ()
    """The next one first"""
    held: bool = False
    """Whether nothing starts at all"""
    why: str = ""
    read: float = 0.0
    """When, in seconds since the epoch"""
    owners: tuple[tuple[int, str], ...] = ()
    """(PID, program and user) of the processes on GPUs that nobody leased"""
    watched: str = ""
    """Who starts what waits; empty where nothing waits that could start here"""


def read_queue(root: Path, there: Sequence[Device], taken: Mapping[str, str]) -> Waiting:
    """The queue of the store at `root`.

    Args:
        there: this machine's devices
        taken: by key, why a device is not free

    Raises:
        UserError: DAPOCTL_SLOTS is no count.
    """
    whole = state(root)
    foreign = {
        pid
        for device in there
        if device.key in taken and not taken[device.key].startswith(LEASED)
        for pid, _ in device.processes
    }
    owners = tuple((pid, owner) for pid in sorted(foreign) if (owner := _owner(pid)))
    watched = watched_words(waiter(root), may_start(root))
    if watched == NOBODY:
        watched += " but this session: they start while it is open"
    return Waiting(tuple(outlook(root)), whole.held, whole.why, time.time(), owners, watched)


def _owner(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        return f"{process.name()}, {process.username()}"
    except psutil.Error:
        # Gone by now, or of another container: there is no more to say than its number.
        return ""


def hold_queue(root: Path, held: bool) -> str:
    """Hold the whole queue or let it go on; what became of it, in words."""
    hold(root, None, held)
    return "the queue is held: nothing starts, what runs goes on" if held else _started(root, "the queue goes on")


def hold_run(root: Path, run: str, held: bool) -> str:
    """Hold one ticket or let it go on; what became of it, in words."""
    hold(root, run, held)
    return f"{run} is held" if held else _started(root, f"{run} goes on")


def drop_run(root: Path, run: str) -> str:
    """Take a ticket away; what became of it, in words."""
    drop(root, run)
    return _started(root, f"{run} no longer waits; `u` on the screen of runs queues it again")


def move_run(root: Path, run: str, to: str) -> str:
    """Move a ticket among those of its priority; nothing is said, as it is seen."""
    move(root, run, to)
    return _started(root, "")


def _started(root: Path, words: str) -> str:
    """Change is a reason to look who can start."""
    started = ""
    with contextlib.suppress(FileNotFoundError):
        started = ", ".join(start_or_wait(root))
    return "; ".join(part for part in (words, f"started {started}" if started else "") if part)


def device_lines(
    there: Sequence[Device], taken: Mapping[str, str], owners: Mapping[int, str], width: int
) -> list[Text]:
    """One line for each device, and what slots are where there is no GPU."""
    lines = [_device(device, taken.get(device.key, ""), owners, width) for device in there]
    if there and not any(device.is_gpu for device in there):
        with contextlib.suppress(ValueError):
            lines.append(Text(_slots(slot_count(), width), "dim", no_wrap=True, overflow="ellipsis"))
    return lines


def _slots(count: int, width: int) -> str:
    many = f"{count} slot{'s' if count > 1 else ''}"
    if width < NARROW:
        return f"{many}; {SLOTS}={count + 1} for more"
    return f"No GPU here: {many} for runs at once; {SLOTS}={count + 1} in the environment makes it {count + 1}."


def _device(device: Device, why: str, owners: Mapping[int, str], width: int) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(cell(device.label, 8), "bold")
    if device.is_gpu:
        use = "" if device.utilization is None else f"{device.utilization}%"
        heat = "" if device.temperature is None else f"{device.temperature} °C"
        share = device.used / device.total if device.total else 0.0
        if width >= 2 * NARROW:
            text.append(cell(line(device.name), 26))
        text.append(cell(use, 5, True))
        if width >= NARROW:
            full = round(share * BAR)
            bar = f"{'█' * full}{'░' * (BAR - full)}" if device.total else " " * BAR
            text.append(f"  {bar}", "red" if share > 0.95 else "")
        text.append(f" {device.used / GIB:.1f}/{device.total / GIB:.1f} GiB" if device.total else f" {'unknown':>12}")
        text.append(cell(heat, 7, True) + "  ", "red" if (device.temperature or 0) >= 85 else "")
    known = [f"PID {pid} is {owners[pid]}" for pid, _ in device.processes if pid in owners]
    if not why:
        text.append("✓ free", "green")
    elif why.startswith(LEASED):
        text.append(f"● {line(why)}")
    else:
        text.append(line(" · ".join([f"▲ {why}", *known])), "yellow")
    return text
