"""Columns of `views` in a grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from dapoctl.tui.widgets.grid import Column as GridColumn
from dapoctl.views.columns import Column, Place, columns_in

Row = TypeVar("Row")


def grid_columns(columns: Iterable[Column[Row]]) -> list[GridColumn]:
    """Those that a grid shows, in its order."""
    return [
        GridColumn(column.title_in(Place.GRID), column.right, column.rank, column.stretch, column.middle)
        for column in columns_in(columns, Place.GRID)
    ]
