"""Numbers for people: short, aligned, honest about what is missing or not finite."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dapoctl.evaluation.statistics.intervals import Interval

UNKNOWN = "?"
BLOCKS = "▁▂▃▄▅▆▇█"
BROKEN = "!"
"""Stands for a value that is not finite in a sparkline"""
SHADES = " ░▒▓█"
DAY = 86400


def number(value: float, signed: bool = False) -> str:
    """Three or four significant digits: `0.312`, `1,203`, `1.2e-06`, `nan`."""
    sign = "+" if signed and value >= 0 else ""
    if not math.isfinite(value):
        return f"{value}"
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        return f"{sign}{value:.1e}"
    if size >= 1000:
        return f"{sign}{value:,.0f}"
    return f"{sign}{value:.1f}" if size >= 10 else f"{sign}{value:.3f}"


def percent(value: float) -> str:
    """`0.617` -> `61.7%`."""
    return f"{100 * value:.1f}%" if math.isfinite(value) else f"{value}"


def change(before: float, after: float) -> str:
    """`(+39.1 points)`, the difference of two shares."""
    return f"({100 * (after - before):+.1f} points)" if math.isfinite(after - before) else ""


def share(value: float) -> str:
    """`12.3%`; `?` if it is unknown."""
    return percent(value) if math.isfinite(value) else UNKNOWN


def points(value: float, signed: bool = True) -> str:
    """A difference of two shares in percentage points: `+3.1`, or `3.1` if not `signed`; `?` if it is unknown."""
    if not math.isfinite(value):
        return UNKNOWN
    # -0.04 is shown as 0.0, without a sign.
    shown = f"{100 * value:{'+' if signed else ''}.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown


def with_interval(value: float, interval: Interval, signed: bool = False) -> str:
    """`12.3% [5.1, 21.0]` or `+3.1 [-0.4, +6.0]`; without brackets if the interval is unknown."""
    shown = points(value) if signed else share(value)
    if not (math.isfinite(interval.low) and math.isfinite(value)):
        return shown
    return f"{shown} {interval_text(interval, signed)}"


def interval_text(interval: Interval, signed: bool = True) -> str:
    """An interval in percentage points: `[-0.4, +6.0]`, or `[5.1, 21.0]` if not `signed`; `?` if it is unknown."""
    if not math.isfinite(interval.low):
        return UNKNOWN
    low, high = (points(end) if signed else f"{100 * end:.1f}" for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def p_value(p: float) -> str:
    """`0.031`, `<0.001`; `?` if it is unknown."""
    if not math.isfinite(p):
        return UNKNOWN
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(value: float) -> str:
    """`812`, `12.3k`, `4.5M`; `?` if it is unknown."""
    if not math.isfinite(value):
        return UNKNOWN
    for least, unit, prefix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:.1f}{prefix}"
    return f"{value:,.0f}"


def hours(value: float) -> str:
    """`12.3`, `0.042`, `<0.001`, `0`; `?` if it is unknown."""
    if not math.isfinite(value):
        return UNKNOWN
    if 0 < value < 0.001:
        return "<0.001"
    return "0" if value == 0 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """`0:42`, `1:02:03`, `2d 03:04:05`."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def time_left(seconds: float | None) -> str:
    """A `duration`, or days and hours: `2d 3h`; nothing if it is unknown."""
    if seconds is None:
        return ""
    return duration(seconds) if seconds < DAY else f"{seconds // DAY:.0f}d {seconds % DAY // 3600:.0f}h"


def age(moment: float, now: float | None = None) -> str:
    """How long ago, in one short word: `12s`, `5m`, `3h`, `2d`; nothing for a moment that is 0, which is unknown."""
    if moment <= 0:
        return ""
    seconds = max(0.0, (time.time() if now is None else now) - moment)
    for size, unit in ((DAY, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def shade(value: float) -> str:
    """A share as a darker or lighter block; a share above 0 is never blank, one below 1 never full."""
    if value <= 0 or value >= 1:
        return SHADES[0 if value <= 0 else -1]
    return SHADES[1 + min(2, int(value * 3))]


def bars(values: Sequence[float], top: float) -> str:
    """Values from 0 to `top` as bars of eight heights, so that several rows have one scale."""
    if top <= 0:
        return BLOCKS[0] * len(values)
    return "".join(
        BLOCKS[min(len(BLOCKS) - 1, int(value / top * len(BLOCKS)))] if math.isfinite(value) else UNKNOWN
        for value in values
    )


def sparkline(values: Sequence[float], width: int) -> str:
    """The course of `values` in at most `width` characters, each the mean of its share; `!` where one is not finite."""
    if not values or width < 1:
        return ""
    cells = min(width, len(values))
    edges = [round(index * len(values) / cells) for index in range(cells + 1)]
    means = [_mean(values[start:end]) for start, end in itertools.pairwise(edges)]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    return "".join(_block(mean, low, high) for mean in means)


def _mean(values: Sequence[float]) -> float:
    # Divided first, here and below: neither a sum nor a difference of floats need be one.
    return sum(value / len(values) for value in values)


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return BROKEN
    scale = max(abs(low), abs(high)) or 1.0
    span = high / scale - low / scale
    if span <= 0:
        return BLOCKS[len(BLOCKS) // 2 - 1]
    return BLOCKS[min(len(BLOCKS) - 1, int((value / scale - low / scale) / span * len(BLOCKS)))]
