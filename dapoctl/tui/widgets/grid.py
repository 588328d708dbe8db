"""A table of a few rows with a cursor, whose columns are as wide as what is in them; where room is short some are left out.

Textual's DataTable has no column that takes or gives up room and no row that is one text, and needs 69 ms in place of 24 ms
to be given the same 60 rows again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import cell

GAP = 1
TAIL = 7
"""Characters after what is left out in the middle"""


@dataclass(frozen=True)
class Column:
    """A column of a grid."""

    title: str
    right: bool = True
    rank: int = 0
    """Where room is short the highest is left out first; 0 never"""
    stretch: int = 0
    """Least width of a column that gets what the others leave; 0 for one that is as wide as its cells"""
    middle: bool = False
    """Whether what does not fit is left out in the middle"""


class GridRows(VirtualList):
    """The rows below the titles."""

    def __init__(self) -> None:
        super().__init__()
        self.columns: Sequence[Column] = ()
        self.cells: list[list[Text]] = []
        self.wholes: dict[int, Text] = {}
        """Rows that are one text after their first cell"""

    def count(self) -> int:
        return len(self.cells)

    def widths(self, width: int) -> dict[int, int]:
        """Width by column of those that are shown in so many columns of terminal."""
        natural = {
            place: max([len(column.title), *(self._cell_size(index, place) for index in range(len(self.cells)))])
            for place, column in enumerate(self.columns)
        }
        shown = [*natural]

        def needed() -> int:
            return sum((self.columns[place].stretch or natural[place]) + GAP for place in shown) - GAP

        for place in sorted(natural, key=lambda place: -self.columns[place].rank):
            if needed() <= width or not self.columns[place].rank:
                break
            shown.remove(place)
        spare = width - needed()
        found = {}
        for place in shown:
            least = self.columns[place].stretch
            found[place] = max(1, min(natural[place], least + spare)) if least else natural[place]
            spare -= found[place] - least if least else 0
        return found

    def _cell_size(self, index: int, place: int) -> int:
        if index in self.wholes and place > 0:
            return 0
        return self.cells[index][place].cell_len

    def header(self, width: int) -> Text:
        """The titles."""
        sizes = self.widths(width)
        words = [cell(self.columns[place].title, size, self.columns[place].right) for place, size in sizes.items()]
        return Text((" " * GAP).join(words), "bold dim", no_wrap=True, end="")

    def row(self, index: int, width: int) -> Text:
        sizes = self.widths(width)
        made = Text(end="")
        for place, size in sizes.items():
            if place > 0 and index in self.wholes:
                made.append_text(self.wholes[index])
                break
            text = _fitted(self.cells[index][place], size, self.columns[place].middle)
            pad = " " * (size - text.cell_len)
            made.append_text(Text(pad).append_text(text) if self.columns[place].right else text.append(pad))
            made.append(" " * GAP)
        made.rstrip()
        return made


def _fitted(text: Text, size: int, middle: bool) -> Text:
    text = text.copy()
    if middle and text.cell_len > size >= 2 * TAIL:
        tail = text[-TAIL:]
        text.truncate(size - TAIL, overflow="ellipsis")
        return text.append_text(tail)
    text.truncate(size, overflow="ellipsis")
    return text


class Grid(Vertical):
    """Titles and rows."""

    DEFAULT_CSS = """
    Grid { height: auto; }
    Grid > Static { height: 1; }
    Grid > GridRows { height: auto; min-height: 1; }
    """

    def compose(self) -> ComposeResult:
        yield Static(markup=False)
        yield GridRows()

    @property
    def rows(self) -> GridRows:
        """The rows."""
        return self.query_one(GridRows)

    def show(
        self,
        columns: Sequence[Column],
        cells: Iterable[Sequence[Text]],
        wholes: dict[int, Text] | None = None,
        cursor: int | None = None,
    ) -> None:
        """Draw a table; `wholes` are rows that are one text after their first cell."""
        rows = self.rows
        rows.columns, rows.cells, rows.wholes = columns, [list(each) for each in cells], wholes or {}
        rows.styles.height = max(1, len(rows.cells))
        rows.refresh_rows(cursor)
        self._head()

    def on_resize(self) -> None:
        self._head()

    def _head(self) -> None:
        self.query_one(Static).update(self.rows.header(self.size.width or 80))
