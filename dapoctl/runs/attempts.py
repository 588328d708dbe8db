"""An attempt: one process's work on a run, in `attempts/<n>/`, and what it and others say to each other there."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.runs.files import SCHEMA, read_json, write_json
from dapoctl.runs.processes import boot_id

PROCESS, EXIT, LOG, HEARTBEAT = "proc.json", "exit.json", "stdout.log", "heartbeat"
STOP, PROGRESS = "stop.json", "progress.json"
LOCK, WRITER = ".lock", ".writer"
"""Locks in a run's folder. `.lock` is held by whoever answers for the run, `.writer` by the process that trains: after its
supervisor is killed a trainer may still be there."""
GRACE = 120.0
"""Seconds for a checkpoint between SIGTERM and SIGKILL"""

LONGEST = 3600.0
"""Seconds of silence that count as usual at most: a machine that slept must not make hours of it usual"""


@dataclass(frozen=True)
class StopRequest:
    """Somebody wants the attempt to end."""

    grace: float = GRACE
    time: float = 0.0


@dataclass(frozen=True)
class Activity:
    """What an attempt's trainer said last of what it does."""

    time: float
    step: int = 0
    phase: str = ""
    done: int = 0
    total: int = 0
    longest: float = 0.0
    """Seconds of its longest silence so far, at most `LONGEST`"""
    ticked: float = 0.0
    """Seconds of this machine's monotonic clock, which no change of the time moves"""
    boot: str = ""
    """The boot that `ticked` counts from"""

    def silence(self, now: float) -> float:
        """Seconds since then, where the clock says `now`; of the monotonic clock if it can be asked."""
        passed = time.monotonic() - self.ticked
        if not self.boot or self.boot != boot_id() or passed < 0.0:
            return now - self.time
        return passed + now - time.time()


def attempts(directory: Path) -> list[Path]:
    """The run's attempts, first to last."""
    folder = directory / "attempts"
    with contextlib.suppress(OSError):
        numbers = sorted(int(name) for name in os.listdir(folder) if name.isdecimal())  # noqa: PTH208
        return [folder / str(number) for number in numbers]
    return []


def attempt_folder(directory: Path, number: int) -> Path:
    """`attempts/<n>/`"""
    return directory / "attempts" / str(number)


def next_number(directory: Path) -> int:
    """The number of the attempt after the last."""
    last = attempts(directory)
    return int(last[-1].name) + 1 if last else 1


def was_started(directory: Path, number: int) -> bool:
    """Whether somebody began or refused to work on attempt `number`."""
    folder = attempt_folder(directory, number)
    return (folder / PROCESS).exists() or (folder / EXIT).exists()


def write_failure(directory: Path, number: int, error: str) -> None:
    """Record that attempt `number` failed before it could say so itself.

    Raises:
        StorageError: the folder cannot be written.
    """
    values = {"schema": SCHEMA, "state": "failed", "error": error, "time": time.time()}
    write_json(attempt_folder(directory, number) / EXIT, values)


def request_stop(folder: Path, grace: float) -> None:
    """Ask for the attempt's end; a later request replaces an earlier one.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_json(folder / STOP, {"schema": SCHEMA, "grace": grace, "time": time.time()})


def read_stop(folder: Path) -> StopRequest | None:
    """The request that the attempt should end; None without one."""
    found = read_json(folder / STOP)
    try:
        return StopRequest(float(found["grace"]), float(found["time"]))
    except (KeyError, TypeError, ValueError):
        return None


class ActivityWriter:
    """Tells what the trainer does, at most once a second; what cannot be written is not worth a run."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / PROGRESS
        self.step = step
        self.phase = ""
        self.longest = 0.0
        self._last = time.monotonic()
        self._written = -math.inf

    def note(self, phase: str, done: int = 0, total: int = 0) -> None:
        """Note what goes on."""
        now, self.phase = time.monotonic(), phase
        self.longest, self._last = min(max(self.longest, now - self._last), LONGEST), now
        if now - self._written >= 1.0:
            self._written = now
            self._write({"step": self.step, "phase": phase, "done": done, "total": total})

    def _write(self, values: dict[str, Any]) -> None:
        values = {"time": time.time(), "ticked": self._written, "boot": boot_id(), **values}
        scratch = self.path.with_name(f".{self.path.name}")
        with contextlib.suppress(OSError):
            scratch.write_text(json.dumps({"schema": SCHEMA, **values, "longest": self.longest}), encoding="utf-8")
            scratch.replace(self.path)


def read_activity(folder: Path) -> Activity | None:
    """What the trainer said last; None when it said nothing."""
    found = read_json(folder / PROGRESS)
    try:
        return Activity(
            float(found["time"]),
            int(found["step"]),
            str(found["phase"]),
            int(found["done"]),
            int(found["total"]),
            min(float(found["longest"]), LONGEST),
            float(found.get("ticked", 0.0)),
            str(found.get("boot", "")),
        )
    except (KeyError, TypeError, ValueError):
        return None
