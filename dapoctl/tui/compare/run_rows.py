"""The runs of a comparison as rows of a grid, and the course of their training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from dapoctl.tui.compare.model import Found, Side
from dapoctl.tui.widgets.grid import Column
from dapoctl.views import numbers, tables
from dapoctl.views.comparison import at_k, hour_unit, is_clear
from dapoctl.views.numbers import sparkline
from dapoctl.views.progress import REWARD
from dapoctl.views.runs import called, changes, figure
from dapoctl.views.text import data, line

if TYPE_CHECKING:
    from dapoctl.evaluation.compare.comparison import Comparison, Contrast, Measured
    from dapoctl.runs.history import Courses

UNLIKE = "≠"
CURVES = {REWARD: "reward", "score/accuracy": "accuracy", "response/length_mean": "length"}
SPARK = 24
BARE = (Column("", right=False), Column("run", right=False, stretch=14, middle=True))
"""The columns where nothing is measured"""


def columns_of(found: Comparison) -> list[Column]:
    """The titles: what matters most last to go."""
    base, several = found.sides[0].label, len(found.contrasts) > 1
    unit = hour_unit(found.sides)
    return [
        Column("", right=False),
        Column("run", right=False, stretch=14, middle=True),
        Column(f"{at_k(found, 'avg')} [95%]", rank=2),
        Column(f"minus {base} [95%]"),
        Column("p Holm" if several else "p", rank=1),
        Column("detects", rank=3),
        Column(f"{unit} h", rank=4),
        Column("tokens", rank=5),
        Column("up", rank=6),
        Column("down", rank=6),
        Column("these problems", rank=9),
        Column("problems x k", rank=7),
        Column("eval h", rank=10),
        Column("eval tokens", rank=10),
        Column("components", right=False, rank=8, stretch=12),
    ]


def rows_of(found: Found) -> tuple[list[list[Text]], dict[int, Text]]:
    """(the cells of each side, what stands in place of them for a side without an evaluation)."""
    compared = found.comparison
    measured = iter(zip(compared.sides, (None, *compared.contrasts), strict=True) if compared else ())
    cells: list[list[Text]] = []
    wholes: dict[int, Text] = {}
    for place, side in enumerate(found.sides):
        if side.evaluation is None:
            cells.append([data("·", "dim"), *[data("")] * 14])
            wholes[place] = _instead(side)
        else:
            cells.append(_cells(*next(measured)))
    return cells, wholes


def _instead(side: Side) -> Text:
    going = side.background
    if going is not None and going.alive:
        return Text.assemble((f"{line(side.run)}  ", ""), (f"{going.state}: {line(going.words)}", "yellow"), end="")
    if going is not None and going.state == "failed":
        return Text.assemble((f"{line(side.run)}  ", ""), (f"✗ {line(going.words)}", "red"), end="")
    return Text.assemble((f"{line(side.word)}  ", ""), (line(side.why), "yellow"), end="")


def _cells(side: Measured, contrast: Contrast | None) -> list[Text]:
    evaluation, cost, avg = side.evaluation, side.cost, side.figure("avg")
    unlike = UNLIKE if contrast is not None and contrast.badges else ""
    of = "" if evaluation.complete else f" of {evaluation.expected}"
    if contrast is None:
        against = ["baseline", "", "", "", "", ""]
    else:
        against = [
            numbers.with_interval(contrast.difference, contrast.interval, signed=True),
            numbers.p_value(contrast.holm),
            numbers.points(contrast.detectable, signed=False),
            str(contrast.higher),
            str(contrast.lower),
            numbers.interval_text(contrast.noise),
        ]
    difference, p, detects, up, down, noise = against
    clear = "bold" if contrast is not None and is_clear(contrast) else ""
    return [
        Text.assemble((side.label, "bold"), (unlike, "bold yellow"), end=""),
        data(f"{called(evaluation.run)}@{evaluation.step}"),
        data(numbers.with_interval(avg.value, avg.interval)),
        data(difference, clear or ("dim" if contrast is None else "")),
        data(p, clear),
        data(detects),
        data(numbers.hours(cost.train_hours)),
        data(numbers.count(cost.train_tokens)),
        data(up),
        data(down),
        data(noise),
        data(f"{len(evaluation.scores)}{of} x {evaluation.k}"),
        data(numbers.hours(cost.eval_hours)),
        data(numbers.count(cost.eval_tokens)),
        data(changes(evaluation.run)),
    ]


def cost_line(found: Comparison, place: int) -> str:
    """What a side cost beside what the baseline cost, in words."""
    unit = hour_unit(found.sides)

    def spoken(side: Measured) -> str:
        cost = side.cost
        return (
            f"{side.label} {numbers.hours(cost.train_hours)} {unit} h and {numbers.count(cost.train_tokens)} tokens to train,"
            f" {numbers.hours(cost.eval_hours)} h and {numbers.count(cost.eval_tokens)} to evaluate"
        )

    shown = [found.sides[0], *([found.sides[place]] if 0 < place < len(found.sides) else [])]
    return "; ".join(spoken(side) for side in shown)


def course_lines(sides: Sequence[Measured], courses: Courses) -> list[Text]:
    """How each run's training went, as a sparkline; nothing for runs without metrics."""
    found: list[str] = []
    for name, label in CURVES.items():
        for side in sides:
            values = courses.of(side.evaluation.run.directory).values(name)
            if values:
                words = f"{label:<10}{side.label:<3}{sparkline(values, SPARK)}  {figure(name, values[-1])}"
                found.append(words)
    return [tables.heading("how training went"), data("\n".join(found))] if found else []
