"""Numbers for people: short, aligned, honest about what is missing or not finite."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
BROKEN = "!"
"""Stands for a value that is not finite."""


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


def amount(size: float) -> str:
    """Bytes as `812 MiB` or `1.3 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def duration(seconds: float) -> str:
    """`0:42`, `1:02:03`, `2d 03:04:05`."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
