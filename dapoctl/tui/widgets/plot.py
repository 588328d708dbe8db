"""Curves as dots: any number of points drawn into a small canvas of braille characters, two by four dots each.

What many points become in one column of dots is the span from the least to the largest of them, so no spike is lost and the
cost of drawing depends on the canvas, not on the points. Values that are not finite are gaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dapoctl.tui.widgets.curves import Curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
"""The bit of each dot of a braille character, by row and column"""
BLANK = 0x2800


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
    finite = np.isfinite(values)
    kept = None
    if not finite.all():
        kept = np.flatnonzero(finite)
        steps, values = steps[kept], values[kept]
    begin, end = int(np.searchsorted(steps, low, "left")), int(np.searchsorted(steps, high, "right"))
    steps, values = steps[begin:end], values[begin:end]
    if not len(steps):
        none = np.empty(0)
        return Columns(np.empty(0, np.intp), none, none, none, none, np.empty(0, np.bool_))
    bounds = np.searchsorted(steps, edges(low, high, width))
    bounds[0], bounds[-1] = 0, len(steps)
    place = np.flatnonzero(bounds[1:] > bounds[:-1])
    starts, ends = bounds[place], bounds[place + 1] - 1
    joined = np.ones(len(place), dtype=np.bool_)
    joined[0] = False
    if kept is not None:
        kept = kept[begin:end]
        joined[1:] = kept[starts[1:]] == kept[starts[1:] - 1] + 1
    least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return Columns(place, least, most, values[starts], values[ends], joined)


def edges(low: float, high: float, width: int) -> Floats:
    """The first step of each column of dots, and the end of the last: columns are centred on what they stand for."""
    if high <= low or width < 2:
        middle = (width - 1) // 2
        return np.where(np.arange(width + 1) <= middle, -np.inf, np.inf)
    return (low + (np.arange(width + 1) - 0.5) * ((high - low) / (width - 1))).astype(np.float64)


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

    @cached_property
    def lines(self) -> list[str]:
        """The characters of each row."""
        glyphs = np.where(self.codes > 0, self.codes.astype("<u4") + BLANK, ord(" ")).astype("<u4")
        return [row.tobytes().decode("utf-32-le") for row in glyphs]


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
    low, high = _extent(shown, log)
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
    return _unscaled(*_extent([_scaled(each, log) for each in curves], log), log)


def _unscaled(low: float, high: float, log: bool) -> tuple[float, float]:
    return (_power(low), _power(high)) if log else (low, high)


def _power(value: float) -> float:
    return math.nan if math.isnan(value) else 10.0 ** min(max(value, -300.0), 308.0)


def _extent(shown: Sequence[Floats], log: bool) -> tuple[float, float]:
    found = [values[np.isfinite(values)] for values in shown]
    found = [values for values in found if len(values)]
    if not found:
        return math.nan, math.nan
    low, high = min(float(values.min()) for values in found), max(float(values.max()) for values in found)
    if low == high:
        # A constant is seen by its distance from zero.
        if log:
            return low - 0.5, high + 0.5
        return min(low, 0.0), max(high, 0.0 if low else 1.0)
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
    """Set each column's dots from its least to its most, and between joined columns a line without holes."""
    first, last = rows(found.first), rows(found.last)
    after = np.flatnonzero(found.joined)
    before = after - 1
    x, y = found.place[before], last[before]
    width, rise = found.place[after] - x, first[after] - y
    # A line over n columns has a piece in each of n + 1.
    line = np.repeat(np.arange(len(after)), width + 1)
    along = np.arange(len(line)) - np.repeat(np.cumsum(width + 1) - (width + 1), width + 1)
    start = y[line] + rise[line] * np.maximum(0.0, along - 0.5) / width[line]
    end = y[line] + rise[line] * np.minimum(width[line], along + 0.5) / width[line]
    tops = [rows(found.most), np.rint(np.minimum(start, end)).astype(np.intp)]
    bottoms = [rows(found.least), np.rint(np.maximum(start, end)).astype(np.intp)]
    place = np.concatenate([found.place, x[line] + along])
    # Where spans begin and end; between them the count of open ones is not zero.
    edges = np.zeros((grid.shape[0] + 1, grid.shape[1]), dtype=np.int32)
    np.add.at(edges, (np.concatenate(tops), place), 1)
    np.add.at(edges, (np.concatenate(bottoms) + 1, place), -1)
    grid |= np.cumsum(edges, axis=0)[:-1] > 0
