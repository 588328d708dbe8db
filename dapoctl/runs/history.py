"""The course of a run's metrics, read on from where it was left."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import threading
from array import array
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.runs.files import JsonLines, number_or_nan
from dapoctl.runs.summary import METRICS

KEPT = 128
"""Runs whose metrics are kept: more than there are lines on a screen"""
RECENT = 20
"""Steps whose pace is the run's"""


@dataclass
class Series:
    """One metric's values at its steps; both grow together.

    As arrays they take 16 bytes a point. A chart may take them over by a slice, which is a copy: an array cannot grow while
    something looks into its memory.
    """

    steps: MutableSequence[int] = field(default_factory=lambda: array("q"))
    values: MutableSequence[float] = field(default_factory=lambda: array("d"))


class Course:
    """Every metric of one run. `update` may be called from a worker thread; the series only grow or are replaced."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / METRICS
        self._clear()
        self._inode = self._size = 0
        self._lock = threading.Lock()

    def _clear(self) -> None:
        self._lines = JsonLines(self.path)
        self.series: dict[str, Series] = {}
        self.steps: MutableSequence[int] = array("q")
        self.times: MutableSequence[float] = array("d")

    def update(self, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Read what was added; whether there was anything. A file that shrank or was replaced is read anew."""
        with self._lock:
            return self._update(cancelled)

    def _update(self, cancelled: Callable[[], bool]) -> bool:
        try:
            found = os.stat(self.path)  # noqa: PTH116
        except OSError:
            changed = bool(self.steps)
            self._clear()
            self._size = 0
            return changed
        changed = found.st_ino != self._inode or found.st_size < max(self._size, self._lines.place)
        if changed:
            self._clear()
            self._inode, self._size = found.st_ino, 0
        if found.st_size == self._size:
            return changed
        with contextlib.suppress(OSError):
            for line in self._lines.read():
                changed = True
                if line.value is not None:
                    self._take(line.value)
                if cancelled():
                    return changed
            self._size = max(found.st_size, self._lines.place)
        return changed

    def _take(self, row: dict[str, Any]) -> None:
        try:
            step, moment = int(row["step"]), float(row["time"])
            metrics = row["metrics"].items()
            # A step that is no 64-bit number is damage, too.
            self.steps.append(step)
        except (ValueError, OverflowError, KeyError, TypeError, AttributeError):
            return
        self.times.append(moment)
        for name, value in metrics:
            known = self.series.get(name)
            if known is None:
                known = self.series.setdefault(str(name), Series())
            known.values.append(number_or_nan(value))
            known.steps.append(step)

    def values(self, name: str) -> Sequence[float]:
        """Every value of a metric; empty when it has none."""
        found = self.series.get(name)
        return found.values if found else ()

    def last(self) -> dict[str, float]:
        """The last value of every metric."""
        return {name: series.values[-1] for name, series in self.series.items() if series.values}

    def seconds_left(self, steps: int, now: float) -> float | None:
        """Time to step `steps` at the pace of the last steps; None before there is one."""
        if len(self.steps) < 2 or self.steps[-1] >= steps:
            return None
        times = self.times[-RECENT - 1 :]
        # The median: one evaluation, or the night between two attempts, is no pace.
        pace = statistics.median(later - earlier for earlier, later in itertools.pairwise(times))
        return max(0.0, pace * (steps - self.steps[-1]) - max(0.0, now - self.times[-1]))


class Courses:
    """The courses of the runs that screens have asked for lately: all metrics of a thousand runs would fill the memory."""

    def __init__(self, kept: int = KEPT) -> None:
        self._known: dict[Path, Course] = {}
        self._kept = kept
        self._lock = threading.Lock()

    def of(self, directory: Path) -> Course:
        """The course of a run; call `update` on it in a worker to fill it."""
        with self._lock:
            found = self._known.pop(directory, None) or Course(directory)
            self._known[directory] = found
            while len(self._known) > self._kept:
                del self._known[next(iter(self._known))]
            return found
