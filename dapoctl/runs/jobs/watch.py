"""The store as the screens know it: looked at again and again, each part as often as it can change.

Polled, not notified: stores lie on network file systems too. All of this runs in worker threads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from dapoctl.errors import DapoctlError
from dapoctl.runs.index import list_runs, run_directories
from dapoctl.runs.jobs.leases import Device, devices
from dapoctl.runs.jobs.scheduler import LEASED, busy, schedule
from dapoctl.runs.state import ENDED, standing
from dapoctl.runs.summary import RunSummary, read_record, with_standing
from dapoctl.runs.tickets import tickets

STATES_EVERY = 2.0
"""Seconds between looks at what goes on"""
FOLDERS_EVERY = 5.0
EVERYTHING_EVERY = 60.0


@dataclass(frozen=True)
class Snapshot:
    """What the store holds."""

    runs: tuple[RunSummary, ...] = ()
    """Newest first"""
    devices: tuple[Device, ...] = ()
    taken: tuple[tuple[str, str], ...] = ()
    """(device key, why it is not free)"""
    waiting: int = 0
    problem: str = ""
    read: bool = False
    """Whether anybody has looked yet"""

    def find(self, run: str) -> RunSummary | None:
        """The run with this id."""
        return next((found for found in self.runs if found.id == run), None)

    def gpus(self, run: str) -> str:
        """Labels of the devices that a run has leased, such as `GPU 0, 1`."""
        keys = {key for key, why in self.taken if why == f"{LEASED} {run}"}
        labels = [device.label for device in self.devices if device.key in keys]
        return ", ".join([*labels[:1], *(label.rpartition(" ")[2] for label in labels[1:])])


class StoreWatch:
    """Looks at one store. One thread at a time calls `look`."""

    def __init__(self, root: Path, readonly: bool = False) -> None:
        self.root = root
        self.readonly = readonly
        self.snapshot = Snapshot()
        self._folders = self._everything = float("-inf")

    def look(self, visible: Collection[str] = (), now: float | None = None) -> Snapshot:
        """What the store holds now.

        Args:
            visible: ids of runs that are on the screen: these are read again though they have ended
            now: seconds of a monotonic clock
        """
        now = time.monotonic() if now is None else now
        if not self.root.is_dir():
            self._everything = float("-inf")
            return self._remember(Snapshot(problem=f"there is no store at {self.root} yet", read=True))
        problem = self._schedule()
        if now - self._everything >= EVERYTHING_EVERY:
            self._everything = self._folders = now
            runs = {run.id: run for run in list_runs(self.root)}
        else:
            runs = self._again(visible, now)
        there, taken = self._machine()
        return self._remember(
            Snapshot(
                tuple(sorted(runs.values(), key=lambda run: run.id, reverse=True)),
                there,
                taken,
                len(tickets(self.root)),
                problem,
                read=True,
            )
        )

    def _remember(self, snapshot: Snapshot) -> Snapshot:
        self.snapshot = snapshot
        return snapshot

    def _again(self, visible: Collection[str], now: float) -> dict[str, RunSummary]:
        known = {run.id: run for run in self.snapshot.runs}
        if now - self._folders >= FOLDERS_EVERY:
            self._folders = now
            there = {path.name for path in run_directories(self.root)}
            known = {name: known.get(name) or RunSummary(name, self.root / name) for name in there}
        queued = {ticket.run for ticket in tickets(self.root)}
        for name, run in known.items():
            if name in queued or name in visible or run.state not in ENDED:
                known[name] = _read(self.root / name, name in queued)
        return known

    def _schedule(self) -> str:
        """Start what can start: whoever comes by does."""
        if self.readonly or not tickets(self.root):
            return ""
        try:
            schedule(self.root, wait=False)
        except DapoctlError as error:
            return str(error)
        return ""

    def _machine(self) -> tuple[tuple[Device, ...], tuple[tuple[str, str], ...]]:
        with contextlib.suppress(DapoctlError):
            there = devices()
            return tuple(there), tuple(busy(there).items())
        return (), ()


def _read(directory: Path, queued: bool) -> RunSummary:
    found = read_record(directory)
    if found.problem:
        return replace(found, state="unreadable")
    return with_standing(found, standing(directory, queued))
