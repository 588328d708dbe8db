"""Tables and text laid out by rich, and the short forms of shares, intervals and p-values that they hold."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dapoctl.views.terminal import colours
from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from dapoctl.evaluation.statistics.intervals import Interval

UNKNOWN = "?"
READABLE = 100
"""Columns beyond which running text is hard to read"""
WIDEST = 2 * READABLE + 2
SHADES = " ░▒▓█"
BLOCKS = "▁▂▃▄▅▆▇█"


def laid_out(parts: Iterable[RenderableType], columns: int) -> str:
    """`parts` one below the other in so many columns, in colour where stdout takes it."""
    coloured = colours(sys.stdout)
    console = Console(
        file=io.StringIO(),
        width=columns,
        force_terminal=coloured,
        color_system="auto" if coloured else None,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def table(headers: Sequence[str], left: Sequence[int] = (0,)) -> Table:
    """An empty table without lines; columns at `left` are aligned to the left, the others to the right."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, header in enumerate(headers):
        made.add_column(header, justify="left" if place in left else "right", no_wrap=True, overflow="ellipsis")
    return made


def text(words: str, style: str = "") -> Text:
    """Words from anywhere as one line of text: never markup, no control characters."""
    return Text(one_line(words), style)


def heading(words: str) -> Text:
    """The title of a section, with an empty line before it."""
    return Text(f"\n{one_line(words)}", "bold")


def note(words: str) -> Text:
    """An explanation below a table."""
    return Text(one_line(words), "dim")


def share(value: float) -> str:
    """`12.3%`"""
    return f"{100 * value:.1f}%" if math.isfinite(value) else UNKNOWN


def points(value: float) -> str:
    """A difference of shares in points: `+3.1`."""
    # -0.04 is shown as 0.0, without a sign.
    shown = f"{100 * value:+.1f}" if math.isfinite(value) else UNKNOWN
    return "0.0" if shown in ("+0.0", "-0.0") else shown


def size(value: float) -> str:
    """A difference of shares in points, without a sign: `3.1`."""
    return f"{100 * value:.1f}" if math.isfinite(value) else UNKNOWN


def with_interval(value: float, interval: Interval, signed: bool = False) -> str:
    """`12.3% [5.1, 21.0]` or `+3.1 [-0.4, +6.0]`; without brackets where the interval is unknown."""
    shown = points(value) if signed else share(value)
    if not (math.isfinite(interval.low) and math.isfinite(value)):
        return shown
    ends = [points(end) if signed else f"{100 * end:.1f}" for end in (interval.low, interval.high)]
    return f"{shown} [{ends[0]}, {ends[1]}]"


def ends(interval: Interval) -> str:
    """An interval of a difference alone: `[-0.4, +6.0]`."""
    return f"[{points(interval.low)}, {points(interval.high)}]" if math.isfinite(interval.low) else UNKNOWN


def p_value(p: float) -> str:
    """`0.031`, `<0.001`"""
    if not math.isfinite(p):
        return UNKNOWN
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(value: float) -> str:
    """`812`, `12.3k`, `4.5M`"""
    if not math.isfinite(value):
        return UNKNOWN
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1000 if unit == 'k' else size):.1f}{unit}"
    return f"{value:,.0f}"


def hours(value: float) -> str:
    """`12.3`, `0.042`, `<0.001`, `0`"""
    if not math.isfinite(value):
        return UNKNOWN
    if 0 < value < 0.001:
        return "<0.001"
    return "0" if value == 0 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


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
