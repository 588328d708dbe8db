"""Curves as dots: any number of points drawn into a small canvas of braille characters, two by four dots each.

What many points become in one column of dots is the span from the least to the largest of them, so no spike is lost and the
cost of drawing depends on the canvas, not on the points. Values that are not finite are gaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
"""The bit of each dot of a braille character, by row and column"""
BLANK = 0x2800
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


def curve(steps: Sequence[float], values: Sequence[float], name: str = "", style: str = "", sign: str = "") -> Curve:
    """A curve of plain numbers; points whose steps go back are put in order."""
    count = min(len(steps), len(values))
    x = np.asarray(steps[:count], dtype=np.float64)
    y = np.asarray(values[:count], dtype=np.float64)
    if count > 1 and bool(np.any(x[1:] < x[:-1])):
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
    return Curve(x, y, name, style, sign=sign)


@dataclass(frozen=True)
class Columns:
    """Points by the columns of dots that they fall into; only columns with a finite value."""

    place: NDArray[np.intp]
    least: Floats
    most: Floats
    first: Floats
    last: Floats
    joined: NDArray[np.bool_]
    """Whether nothing is missing between the column before and this one"""


def columns(steps: Floats, values: Floats, low: float, high: float, width: int) -> Columns:
    """Reduce points with ascending `steps` to `width` columns over [low, high]; values that are not finite are left out."""
    there = np.flatnonzero(np.isfinite(values) & (steps >= low) & (steps <= high))
    place = column_of(steps[there], low, high, width)
    if not len(there):
        none = np.empty(0)
        return Columns(place, none, none, none, none, np.empty(0, dtype=np.bool_))
    starts = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]]))
    found = values[there]
    ends = np.concatenate([starts[1:], [len(there)]]) - 1
    joined = np.zeros(len(starts), dtype=np.bool_)
    joined[1:] = there[starts[1:]] == there[starts[1:] - 1] + 1
    return Columns(
        place[starts],
        np.minimum.reduceat(found, starts),
        np.maximum.reduceat(found, starts),
        found[starts],
        found[ends],
        joined,
    )


def column_of(steps: Floats, low: float, high: float, width: int) -> NDArray[np.intp]:
    """The column of dots of each step."""
    span = high - low
    if span <= 0:
        return np.full(len(steps), (width - 1) // 2, dtype=np.intp)
    return np.minimum(((steps - low) / span * (width - 1) + 0.5).astype(np.intp), width - 1)


@dataclass
class Picture:
    """A drawn chart, without its axes."""

    codes: NDArray[np.uint8]
    """[rows, columns]: the dots of each character"""
    owner: NDArray[np.int16]
    """[rows, columns]: index of the curve that is in front there; -1 where there is none"""
    low: float = math.nan
    high: float = math.nan
    """The values at the lowest and the highest row of dots"""
    broken: dict[int, bool] = field(default_factory=dict)
    """Columns of characters in which a value is not finite"""
    signs: list[tuple[int, int, int]] = field(default_factory=list)
    """(row, column, index of the curve) of each curve's last point"""
    missing: int = 0
    """Values that are not finite"""
    below: int = 0
    """Values at or below zero that a log scale cannot show"""


def draw(curves: Sequence[Curve], width: int, height: int, span: tuple[float, float], log: bool = False) -> Picture:
    """Draw `curves` into `width` x `height` characters.

    Args:
        span: the first and the last step
        log: a logarithmic scale of values; those at or below zero are gaps
    """
    picture = Picture(np.zeros((height, width), np.uint8), np.full((height, width), -1, np.int16))
    shown = [_scaled(each, log) for each in curves]
    for each, values in zip(curves, shown, strict=True):
        finite = np.isfinite(each.values)
        picture.missing += int(np.count_nonzero(~finite))
        picture.below += int(np.count_nonzero(finite & ~np.isfinite(values)))
        for column in column_of(each.steps[~finite], *span, width * 2):
            picture.broken[int(column) // 2] = True
    low, high = _extent(shown)
    if math.isnan(low):
        return picture
    picture.low, picture.high = _unscaled(low, high, log)
    order = sorted(range(len(curves)), key=lambda index: not curves[index].faint)
    for index in order:
        reduced = columns(curves[index].steps, shown[index], *span, width * 2)
        grid = np.zeros((height * 4, width * 2), dtype=np.bool_)
        rows = _Rows(low, high, height * 4)
        _trace(grid, reduced, rows)
        codes = (grid.reshape(height, 4, width, 2).transpose(0, 2, 1, 3) * DOTS).sum(axis=(2, 3)).astype(np.uint8)
        picture.codes |= codes
        picture.owner[codes > 0] = index
        if curves[index].sign and len(reduced.place):
            picture.signs.append((int(rows(reduced.last[-1:])[0]) // 4, int(reduced.place[-1]) // 2, index))
    return picture


def _scaled(each: Curve, log: bool) -> Floats:
    if not log:
        return each.values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(each.values > 0, np.log10(each.values), np.nan)


def extent(curves: Sequence[Curve], log: bool = False) -> tuple[float, float]:
    """The values at the lower and the upper edge of the chart that `draw` makes; not-a-number where it shows no value."""
    return _unscaled(*_extent([_scaled(each, log) for each in curves]), log)


def _unscaled(low: float, high: float, log: bool) -> tuple[float, float]:
    return (_power(low), _power(high)) if log else (low, high)


def _power(value: float) -> float:
    return math.nan if math.isnan(value) else 10.0 ** min(max(value, -300.0), 308.0)


def _extent(shown: Sequence[Floats]) -> tuple[float, float]:
    found = [values[np.isfinite(values)] for values in shown]
    found = [values for values in found if len(values)]
    if not found:
        return math.nan, math.nan
    low, high = min(float(values.min()) for values in found), max(float(values.max()) for values in found)
    if low == high:
        room = min(abs(low) / 2, 1e300) or 1.0
        return low - room, high + room
    return low, high


class _Rows:
    """Rows of dots of values; row 0 is the highest."""

    def __init__(self, low: float, high: float, count: int) -> None:
        # Divided first: the difference of two values may be more than a float can be.
        self.scale = max(abs(low), abs(high)) or 1.0
        self.low, self.span, self.count = low / self.scale, high / self.scale - low / self.scale, count

    def __call__(self, values: Floats) -> NDArray[np.intp]:
        part = (values / self.scale - self.low) / self.span if self.span > 0 else np.full(len(values), 0.5)
        return np.clip(((1 - part) * (self.count - 1) + 0.5).astype(np.intp), 0, self.count - 1)


def _trace(grid: NDArray[np.bool_], found: Columns, rows: _Rows) -> None:
    places = found.place.tolist()
    top, bottom = rows(found.most).tolist(), rows(found.least).tolist()
    first, last = rows(found.first).tolist(), rows(found.last).tolist()
    for index, place in enumerate(places):
        grid[top[index] : bottom[index] + 1, place] = True
        if index and found.joined[index]:
            _join(grid, places[index - 1], last[index - 1], place, first[index])


def _join(grid: NDArray[np.bool_], x1: int, y1: int, x2: int, y2: int) -> None:
    """A line of dots without holes."""
    count = x2 - x1
    for x in range(count + 1):
        start = y1 + (y2 - y1) * max(0.0, x - 0.5) / count
        end = y1 + (y2 - y1) * min(float(count), x + 0.5) / count
        a, b = round(min(start, end)), round(max(start, end))
        grid[a : b + 1, x1 + x] = True


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
        carry = 0.0
        for index in range(len(inside)):
            inside[index] += carry * powers * keep
            carry = inside[index, -1]
        known = inside.reshape(-1)[:count] / (1 - keep ** np.arange(1, count + 1))
    result[finite] = known
    return result
