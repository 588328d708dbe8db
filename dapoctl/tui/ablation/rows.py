"""The rows of an ablation: what was evaluated, and what was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from dapoctl.tui.widgets.columns import grid_columns
from dapoctl.tui.widgets.grid import Column
from dapoctl.views import ablation
from dapoctl.views.columns import grid_cells
from dapoctl.views.runs import called, state_text
from dapoctl.views.text import line

if TYPE_CHECKING:
    from dapoctl.evaluation.compare.ablation import Ablation
    from dapoctl.tui.ablation.model import Gap


def columns_of(table: Ablation) -> list[Column]:
    """The titles."""
    return grid_columns(ablation.columns_of(table))


def table_cells(table: Ablation) -> list[list[Text]]:
    """The cells of every set that was evaluated."""
    columns = ablation.columns_of(table)
    return [grid_cells(columns, row) for row in ablation.rows_of(table)]


def gap_text(gap: Gap) -> Text:
    """What stands in place of the figures of a set that was not evaluated."""
    if gap.run is not None:
        step = f" {gap.run.step}/{gap.run.steps}" if gap.run.step < gap.run.steps else ", not evaluated: e"
        return Text.assemble((f"{called(gap.run)}: {state_text(gap.run)}{step}", "cyan"), end="")
    which = f"; the largest set without {line(gap.without)}" if gap.without else ""
    return Text.assemble(("not run: enter launches it", "cyan"), (which, "dim"), end="")
