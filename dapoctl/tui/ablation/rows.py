"""The rows of an ablation: what was evaluated, and what was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from dapoctl.tui.widgets.grid import Column
from dapoctl.views import numbers
from dapoctl.views.ablation import difference_text, name_of
from dapoctl.views.comparison import ALPHA
from dapoctl.views.runs import called, state_text
from dapoctl.views.text import data, line

if TYPE_CHECKING:
    from dapoctl.evaluation.compare.ablation import Ablation, Row
    from dapoctl.tui.ablation.model import Gap

UNLIKE = "≠"


def columns_of(table: Ablation) -> list[Column]:
    """The titles."""
    return [
        Column("components", right=False, stretch=18),
        Column("", right=False, rank=6),
        Column("seeds", rank=3),
        Column("problems", rank=5),
        Column("avg", rank=2),
        Column("difference [95%]"),
        Column("p Holm", rank=1),
        Column(f"pass@{table.k} [95%]", rank=7),
        Column("maj [95%]", rank=8),
    ]


def row_cells(row: Row, table: Ablation) -> list[Text]:
    """The cells of a set that was evaluated."""
    own = row is table.rows[0]
    cells = [
        data(line(name_of(row, table)), "bold" if own else ""),
        data(UNLIKE if row.badges else "", "bold yellow"),
        data(str(len(row.arm.evaluations))),
        data(str(row.problems)),
    ]
    if not row.effects:
        return [*cells, data(numbers.UNKNOWN), *[data("")] * 4]
    avg = row.effects["avg"]
    style = "bold" if not own and avg.holm < ALPHA else "dim" if own else ""
    cells.append(data(numbers.share(avg.value)))
    cells.append(data("baseline" if own else difference_text(avg), style))
    cells.append(data("" if own else numbers.p_value(avg.holm), style))
    for name in ("pass", "maj"):
        effect = row.effects[name]
        cells.append(data(numbers.share(effect.value) if own else difference_text(effect)))
    return cells


def gap_text(gap: Gap) -> Text:
    """What stands in place of the figures of a set that was not evaluated."""
    if gap.run is not None:
        step = f" {gap.run.step}/{gap.run.steps}" if gap.run.step < gap.run.steps else ", not evaluated: e"
        return Text.assemble((f"{called(gap.run)}: {state_text(gap.run)}{step}", "cyan"), end="")
    which = f"; the largest set without {line(gap.without)}" if gap.without else ""
    return Text.assemble(("not run: enter launches it", "cyan"), (which, "dim"), end="")
