"""The store as the screens see it: read repeatedly, each part as often as it can change.

Polled, not notified, since stores may be on network file systems. All of this runs in worker threads.
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
from dapoctl.runs.outlived import outlived, outlived_words
from dapoctl.runs.state import ENDED, standing
from dapoctl.runs.summary import RunSummary, read_record, with_standing
from dapoctl.runs.tickets import tickets

STATES_EVERY = 2.0
"""Seconds between readings of the runs' states"""
FOLDERS_EVERY = 5.0
"""Seconds after which the folders are listed though the store's own time of change says that none came or went: a network
file system may say so late"""
PROCESSES_EVERY = 30.0
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
    """Whether the store has been read yet"""

    def find(self, run: str) -> RunSummary | None:
        """The run with this id."""
        return next((summary for summary in self.runs if summary.id == run), None)

    def gpus(self, run: str) -> str:
        """Labels of the devices that a run has leased, such as `GPU 0, 1`."""
        keys = {key for key, why in self.taken if why == f"{LEASED} {run}"}
        labels = [device.label for device in self.devices if device.key in keys]
        return ", ".join([*labels[:1], *(label.rpartition(" ")[2] for label in labels[1:])])


class StoreWatch:
    """Reads one store repeatedly. One thread at a time calls `look`."""

    def __init__(self, root: Path, readonly: bool = False) -> None:
        self.root = root
        self.readonly = readonly
        self.snapshot = Snapshot()
        self._folders = self._everything = float("-inf")
        self._changed = 0
        """The store's time of change when its folders were last listed"""
        self._made: set[str] = set()
        self._outlived: dict[str, tuple[float, str]] = {}
        """By lost run, when its processes were looked for, and what was found in words"""

    def include(self, run: str) -> None:
        """A run was made just now: it is there at once, and until a look has found it."""
        self._made.add(run)
        self._remember(replace(self.snapshot, runs=self._with_made({each.id: each for each in self.snapshot.runs})))

    def _with_made(self, runs: dict[str, RunSummary]) -> tuple[RunSummary, ...]:
        self._made -= runs.keys()
        queued = {ticket.run for ticket in tickets(self.root)} if self._made else set()
        for run in [*self._made]:
            if (self.root / run).is_dir():
                runs[run] = _read(self.root / run, run in queued)
            else:
                self._made.discard(run)
        return tuple(sorted(runs.values(), key=lambda run: run.id, reverse=True))

    def look(self, visible: Collection[str] = (), now: float | None = None) -> Snapshot:
        """What the store holds now.

        Args:
            visible: ids of runs that are on the screen: these are read again even if they have ended
            now: seconds of a monotonic clock
        """
        now = time.monotonic() if now is None else now
        if not self.root.is_dir():
            self._everything = float("-inf")
            return self._remember(Snapshot(problem=f"there is no store at {self.root} yet", read=True))
        problem = self._schedule()
        if now - self._everything >= EVERYTHING_EVERY:
            self._everything = self._folders = now
            self._changed = _modified(self.root)
            runs = {run.id: run for run in list_runs(self.root)}
        else:
            runs = self._update_known(visible, now)
        devices_here, taken = self._machine()
        return self._remember(
            Snapshot(
                self._with_made(runs),
                devices_here,
                taken,
                len(tickets(self.root)),
                problem,
                read=True,
            )
        )

    def _remember(self, snapshot: Snapshot) -> Snapshot:
        self.snapshot = snapshot
        return snapshot

    def _update_known(self, visible: Collection[str], now: float) -> dict[str, RunSummary]:
        known = {run.id: run for run in self.snapshot.runs}
        changed = _modified(self.root)
        if changed != self._changed or now - self._folders >= FOLDERS_EVERY:
            self._folders, self._changed = now, changed
            names = {path.name for path in run_directories(self.root)}
            known = {name: known.get(name) or RunSummary(name, self.root / name) for name in names}
        queued = {ticket.run for ticket in tickets(self.root)}
        for name, run in known.items():
            if name in queued or name in visible or run.state not in ENDED:
                known[name] = _read(self.root / name, name in queued)
            if known[name].state == "lost" and name in visible:
                known[name] = self._with_processes(known[name], now)
        return known

    def _with_processes(self, run: RunSummary, now: float) -> RunSummary:
        """The summary of a lost run with a word about processes of it that are still there.

        These are looked for in one run at a time: it takes a look at every process of the machine.
        """
        looked, words = self._outlived.get(run.id, (float("-inf"), ""))
        if now - looked >= PROCESSES_EVERY and all(other < now for other, _ in self._outlived.values()):
            words = outlived_words(outlived(run.directory))
            self._outlived[run.id] = now, words
        return replace(run, why=f"{run.why}; {words}") if words and words not in run.why else run

    def _schedule(self) -> str:
        """Start the runs whose turn it is: every process that looks does so."""
        if self.readonly or not tickets(self.root):
            return ""
        try:
            schedule(self.root, wait=False)
        except DapoctlError as error:
            return str(error)
        return ""

    def _machine(self) -> tuple[tuple[Device, ...], tuple[tuple[str, str], ...]]:
        with contextlib.suppress(DapoctlError):
            devices_here = devices()
            return tuple(devices_here), tuple(busy(devices_here).items())
        return (), ()


def _read(directory: Path, queued: bool) -> RunSummary:
    summary = read_record(directory)
    if summary.problem:
        return replace(summary, state="unreadable")
    return with_standing(summary, standing(directory, queued))


def _modified(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return folder.stat().st_mtime_ns
    return 0
