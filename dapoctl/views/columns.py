"""Tables: each column is defined once, with the places where it is shown, and rendered for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rich.text import Text

from dapoctl.views import tables
from dapoctl.views.markdown import csv_text, escaped
from dapoctl.views.markdown import table as markdown_table
from dapoctl.views.text import data, one_line

if TYPE_CHECKING:
    from rich.table import Table

Row = TypeVar("Row")


class Place(Flag):
    """Where a column can be shown."""

    NOWHERE = 0
    TERMINAL = auto()
    GRID = auto()
    """A table of the terminal UI"""
    MARKDOWN = auto()
    CSV = auto()
    JSON = auto()
    PEOPLE = TERMINAL | GRID | MARKDOWN
    PROGRAMS = CSV | JSON


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    """A column of a table whose rows are `Row`; it is shown to people if it has a `text`, to programs if it has a `value`."""

    key: str
    """Its name for programs: the CSV header and the JSON key"""
    title: str = ""
    """For people"""
    titles: Mapping[Place, str] = field(default_factory=dict)
    """Its title in places where that is another"""
    value: Callable[[Row], Any] | None = None
    """For programs: numbers are not rounded"""
    text: Callable[[Row], str | Text] | None = None
    """For people"""
    style: Callable[[Row], str] = lambda _row: ""
    """Of a text that is not styled itself"""
    places: Place | None = None
    """Where it is shown; by default all places that it has a value or a text for"""
    part: str = ""
    """The JSON object that it belongs to, in tables whose rows make several"""
    escape: bool = False
    """Whether its text holds names that users give, which Markdown must not take for markup"""
    right: bool = True
    """Whether it is aligned to the right"""
    fold: bool = False
    """Whether its text goes on in a second line on a terminal that is too narrow"""
    since: int = 0
    """Columns of terminal from which it is shown"""
    rank: int = 0
    """In a grid without room for all columns the highest rank is left out first, 0 never"""
    grid_order: int = 0
    """A grid has its columns in this order; those with the same number stay in the order of the list"""
    stretch: int = 0
    """Least width in a grid if it gets what the other columns leave; 0 if it is as wide as its cells"""
    middle: bool = False
    """Whether a grid shortens its text in the middle"""
    sizes: Mapping[int, int] = field(default_factory=dict)
    """In a grid whose columns do not depend on their cells: width by the width of the grid from which it holds; not shown in a
    narrower one; 0 for what the other columns leave"""

    def title_in(self, place: Place) -> str:
        """Its title there."""
        return self.titles.get(place, self.title)

    def is_in(self, place: Place) -> bool:
        """Whether it is shown there."""
        if self.places is not None:
            return place in self.places
        return (self.text if place in Place.PEOPLE else self.value) is not None

    def size_in(self, width: int) -> int:
        """Its size in a grid of this width; -1 if it is not shown."""
        return next((size for least, size in sorted(self.sizes.items(), reverse=True) if width >= least), -1)

    def cell(self, row: Row) -> Text:
        """Its text, styled; never markup, and without control characters."""
        shown = self.text(row) if self.text is not None else ""
        if isinstance(shown, Text):
            return shown
        return data(one_line(shown) if self.escape else shown, self.style(row))


def columns_in(columns: Iterable[Column[Row]], place: Place, part: str | None = None) -> list[Column[Row]]:
    """The columns that are shown in a place, in its order; with `part` only those of that JSON object."""
    found = [column for column in columns if column.is_in(place) and part in (None, column.part)]
    return sorted(found, key=lambda column: column.grid_order) if place is Place.GRID else found


def terminal_table(columns: Iterable[Column[Row]], rows: Iterable[Row], width: int) -> Table:
    """For a terminal with so many columns."""
    shown = [column for column in columns_in(columns, Place.TERMINAL) if width >= column.since]
    table = tables.table(
        [column.title_in(Place.TERMINAL) for column in shown],
        left=[index for index, column in enumerate(shown) if not column.right],
    )
    for column, made in zip(shown, table.columns, strict=True):
        if column.fold:
            made.no_wrap, made.overflow = False, "fold"
    for row in rows:
        table.add_row(*(column.cell(row) for column in shown))
    return table


def lines(columns: Iterable[Column[Row]], rows: Iterable[Row]) -> list[str]:
    """As lines of text under titles in capitals, for a terminal or a pipe; the last column is as long as its text."""
    shown = columns_in(columns, Place.TERMINAL)
    titles = [column.title_in(Place.TERMINAL).upper() for column in shown]
    return tables.aligned([titles, *([str(column.cell(row)) for column in shown] for row in rows)])


def grid_cells(columns: Iterable[Column[Row]], row: Row) -> list[Text]:
    """A row of a grid."""
    return [column.cell(row) for column in columns_in(columns, Place.GRID)]


def markdown(columns: Iterable[Column[Row]], rows: Iterable[Row]) -> str:
    """A table in Markdown."""
    shown = columns_in(columns, Place.MARKDOWN)
    headers = [column.title_in(Place.MARKDOWN) for column in shown]
    left = [index for index, column in enumerate(shown) if not column.right]
    return "\n".join(markdown_table(headers, [[_markdown_cell(column, row) for column in shown] for row in rows], left))


def _markdown_cell(column: Column[Row], row: Row) -> str:
    text = str(column.text(row)) if column.text is not None else ""
    return escaped(text) if column.escape else text


def csv(columns: Iterable[Column[Row]], rows: Iterable[Row]) -> str:
    """Comma-separated values under a header; an unknown number is empty."""
    shown = columns_in(columns, Place.CSV)
    return csv_text([column.key for column in shown], [_values(shown, row) for row in rows])


def record(columns: Iterable[Column[Row]], row: Row, part: str = "") -> dict[str, Any]:
    """A row as a JSON object."""
    shown = columns_in(columns, Place.JSON, part)
    return dict(zip((column.key for column in shown), _values(shown, row), strict=True))


def _values(columns: Sequence[Column[Row]], row: Row) -> list[Any]:
    return [column.value(row) for column in columns if column.value is not None]
