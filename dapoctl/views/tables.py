"""Tables and text laid out by rich."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dapoctl.views.terminal import colours
from dapoctl.views.text import one_line

READABLE = 100
"""Columns beyond which running text is hard to read"""
WIDEST = 2 * READABLE + 2


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
    for index, header in enumerate(headers):
        made.add_column(header, justify="left" if index in left else "right", no_wrap=True, overflow="ellipsis")
    return made


def text(value: str, style: str = "") -> Text:
    """A string from anywhere as one line of text: never markup, no control characters."""
    return Text(one_line(value), style)


def heading(title: str) -> Text:
    """The title of a section, with an empty line before it."""
    return Text(f"\n{one_line(title)}", "bold")


def note(explanation: str) -> Text:
    """An explanation below a table."""
    return Text(one_line(explanation), "dim")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text in columns, the last one as long as it is."""
    sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(size) for cell, size in zip(row, sizes, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
