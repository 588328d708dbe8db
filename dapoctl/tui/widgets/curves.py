"""The course of metrics over steps: points of a run as they grow, in order, and smoothed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapoctl.runs.history import Series

    Floats = NDArray[np.float64]

BLOCK = 64
"""Values that are averaged by one matrix product"""


@dataclass(frozen=True)
class Curve:
    """A line of a chart."""

    steps: Floats
    values: Floats
    name: str = ""
    style: str = ""
    faint: bool = False
    """Drawn behind the others"""
    sign: str = ""
    """A letter at its last point, to be known without colours"""

    def at(self, step: float) -> tuple[float, float] | None:
        """(step, value) of the last point at or before `step`, else of the first; None without points."""
        if not len(self.steps):
            return None
        place = max(int(np.searchsorted(self.steps, step, side="right")) - 1, 0)
        return float(self.steps[place]), float(self.values[place])

    def extremes(self) -> list[tuple[str, float, float]]:
        """(least, most or last; its step; its value) of what is finite."""
        there = np.flatnonzero(np.isfinite(self.values))
        if not len(there):
            return []
        known = self.values[there]
        places = {"least": there[np.argmin(known)], "most": there[np.argmax(known)], "last": there[-1]}
        return [(word, float(self.steps[place]), float(self.values[place])) for word, place in places.items()]


def curve(steps: Sequence[float], values: Sequence[float], name: str = "", style: str = "", sign: str = "") -> Curve:
    """A curve of plain numbers; points whose steps go back are put in order."""
    count = min(len(steps), len(values))
    found = _in_order(np.asarray(steps[:count], dtype=np.float64), np.asarray(values[:count], dtype=np.float64))
    return replace(found, name=name, style=style, sign=sign)


class Growing:
    """The metrics of a run as curves; only what was added since is converted. One thread at a time calls `update`."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Series, Curve]] = {}
        self.mark = 0
        """Changes when anything else does"""

    def update(self, series: Mapping[str, Series]) -> None:
        """Take over what is new."""
        # Another thread may be drawing: it sees what was before or what is after.
        known = {name: each for name, each in self._known.items() if name in series}
        changed = len(known) != len(self._known)
        for name, source in [*series.items()]:
            before = known.get(name)
            old = before[1] if before and before[0] is source else curve((), ())
            count = min(len(source.steps), len(source.values))
            if count == len(old.steps):
                continue
            try:
                added = curve(source.steps[len(old.steps) : count], source.values[len(old.steps) : count])
            except OverflowError:
                # A step that no float can be: the file is damaged.
                continue
            steps, values = np.concatenate([old.steps, added.steps]), np.concatenate([old.values, added.values])
            known[name], changed = (source, _in_order(steps, values)), True
        self._known, self.mark = known, self.mark + changed

    def curve(self, name: str) -> Curve | None:
        """The curve of a metric; None where there is none."""
        known = self._known.get(name)
        return known[1] if known else None

    @property
    def names(self) -> list[str]:
        """Of the metrics that have a point."""
        return [*self._known]

    @property
    def span(self) -> tuple[float, float] | None:
        """The first and the last step of any metric."""
        ends = [(float(each.steps[0]), float(each.steps[-1])) for _, each in self._known.values() if len(each.steps)]
        return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def _in_order(steps: Floats, values: Floats) -> Curve:
    if len(steps) > 1 and bool(np.any(steps[1:] < steps[:-1])):
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], values[order]
    return Curve(steps, values)


def smooth(values: Floats, keep: float) -> Floats:
    """The exponential moving average, m <- keep m + (1 - keep) v, with its start made right by 1 - keep^t as in Adam
    (arXiv:1412.6980, section 3). What is not finite stays so and does not enter the average."""
    result = np.array(values, dtype=np.float64)
    finite = np.isfinite(result)
    known = result[finite]
    if not len(known) or keep <= 0:
        return result
    count = len(known)
    padded = np.zeros(-(-count // BLOCK) * BLOCK)
    padded[:count] = known
    powers = keep ** np.arange(BLOCK)
    lags = np.arange(BLOCK)[:, None] - np.arange(BLOCK)[None, :]
    weights = np.where(lags >= 0, (1 - keep) * powers[np.maximum(lags, 0)], 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        inside = padded.reshape(-1, BLOCK) @ weights.T
        before = [0.0]
        for last in inside[:-1, -1].tolist():
            before.append(last + before[-1] * keep**BLOCK)
        inside += np.array(before)[:, None] * (powers * keep)
        known = inside.reshape(-1)[:count]
        # Later, keep^t is nothing beside 1.
        young = min(count, int(-40 / math.log(keep)) + 1)
        known[:young] /= 1 - keep ** np.arange(1, young + 1)
    result[finite] = known
    return result
