"""Components under the stages of a training step, as a list with a cursor."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.geometry import Region

from dapoctl.tui.plugins.catalogue import BROKEN, Item, Row, meaning
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import cell, line

NAME = 17
PACKAGE_FROM = 44
"""Columns from which the package is shown"""


class PluginList(VirtualList):
    """Headings and items; the cursor rests on items only."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Sequence[Row] = ()

    def show(self, rows: Sequence[Row]) -> None:
        """Draw `rows`; the cursor stays on its item, or goes to the first one."""
        current, self.rows = self.current(), rows
        kept = (index for index, row in enumerate(rows) if current is not None and row.item == current)
        self.refresh_rows(next(kept, self.cursor))

    def current(self) -> Item | None:
        """The item under the cursor."""
        return self.rows[self.cursor].item if 0 <= self.cursor < len(self.rows) else None

    def count(self) -> int:
        return len(self.rows)

    def validate_cursor(self, cursor: int) -> int:
        """A heading passes the cursor on in the direction in which it came."""
        last = len(self.rows) - 1
        if last < 0:
            return 0
        cursor = max(0, min(cursor, last))
        step = -1 if cursor < self.cursor else 1
        while 0 <= cursor <= last and self.rows[cursor].item is None:
            cursor += step
        # Above the first item there is only its heading.
        return cursor if 0 <= cursor <= last else 1

    def watch_cursor(self, old: int, new: int) -> None:
        super().watch_cursor(old, new)
        if self.is_attached and new > 0 and self.rows[new - 1].item is None:
            self.scroll_to_region(Region(0, new - 1, 1, 2), animate=False, force=True)

    def row(self, index: int, width: int) -> Text:
        row = self.rows[index]
        if row.item is None:
            style = "bold red" if row.heading == BROKEN else "bold"
            return Text.assemble((cell(row.heading, NAME + 2), style), (f" {meaning(row.heading)}", "dim"))
        sign = "✗ " if row.item.summary.problem else "  "
        text = Text(f"{sign}{cell(line(row.item.name), NAME)}", "dim" if row.again else "")
        if row.again:
            return text.append(f" ↑ {row.item.stages[0]}")
        if width >= PACKAGE_FROM:
            more = [stage for stage in row.item.stages if stage != row.heading]
            text.append(f" {cell(line(row.item.package), 20)}", "dim")
            text.append(f" also {', '.join(more)}" if more else "", "dim")
        return text
