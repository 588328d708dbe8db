"""The runs of a comparison as rows of a grid, and the course of their training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from dapoctl.tui.compare.model import Found, Side
from dapoctl.tui.widgets.columns import grid_columns
from dapoctl.tui.widgets.grid import Column
from dapoctl.views import comparison_table, tables
from dapoctl.views.columns import grid_cells
from dapoctl.views.comparison_table import hour_unit
from dapoctl.views.metrics import shown_in, written
from dapoctl.views.numbers import count, hours, sparkline
from dapoctl.views.text import data, line

if TYPE_CHECKING:
    from dapoctl.evaluation.compare.comparison import Comparison, Measured
    from dapoctl.runs.history import Courses

SPARK = 24
BARE = (Column("", right=False), Column("run", right=False, stretch=14, middle=True))
"""The columns where nothing is measured"""


def columns_of(comparison: Comparison) -> list[Column]:
    """The titles."""
    return grid_columns(comparison_table.columns_of(comparison))


def rows_of(found: Found) -> tuple[list[list[Text]], dict[int, Text]]:
    """(the cells of each side, what stands in place of them for a side without an evaluation)."""
    compared = found.comparison
    columns = comparison_table.columns_of(compared) if compared else []
    empty = [data("")] * (len(columns_of(compared) if compared else BARE) - 1)
    measured = iter(comparison_table.rows_of(compared) if compared else ())
    cells: list[list[Text]] = []
    instead: dict[int, Text] = {}
    for index, side in enumerate(found.sides):
        if side.evaluation is None:
            cells.append([data("·", "dim"), *empty])
            instead[index] = _instead(side)
        else:
            cells.append(grid_cells(columns, next(measured)))
    return cells, instead


def _instead(side: Side) -> Text:
    going = side.background
    if going is not None and going.alive:
        return Text.assemble((f"{line(side.run)}  ", ""), (f"{going.state}: {line(going.words)}", "yellow"), end="")
    if going is not None and going.state == "failed":
        return Text.assemble((f"{line(side.run)}  ", ""), (f"✗ {line(going.words)}", "red"), end="")
    return Text.assemble((f"{line(side.word)}  ", ""), (line(side.why), "yellow"), end="")


def cost_line(comparison: Comparison, index: int) -> str:
    """What a side cost beside what the baseline cost, in words."""
    unit = hour_unit(comparison.sides)

    def text(side: Measured) -> str:
        cost = side.cost
        return (
            f"{side.label} {hours(cost.train_hours)} {unit} h and {count(cost.train_tokens)} tokens to train,"
            f" {hours(cost.eval_hours)} h and {count(cost.eval_tokens)} to evaluate"
        )

    others = [comparison.sides[index]] if 0 < index < len(comparison.sides) else []
    return "; ".join(text(side) for side in (comparison.sides[0], *others))


def course_lines(sides: Sequence[Measured], courses: Courses) -> list[Text]:
    """How each run's training went, as a sparkline; nothing for runs without metrics."""
    rows: list[str] = []
    for metric in shown_in("compare"):
        for side in sides:
            values = courses.of(side.evaluation.run.directory).values(metric.name)
            if values:
                last = written(metric.name, values[-1])
                rows.append(f"{metric.compare:<10}{side.label:<3}{sparkline(values, SPARK)}  {last}")
    return [tables.heading("how training went"), data("\n".join(rows))] if rows else []
