"""The columns of a comparison: a row is one side, with its contrast to the baseline.

To add a column, add it to `_columns`: with a `text` it appears on the terminal, in the terminal UI and in Markdown, with a
`value` in CSV and JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from dapoctl.views.columns import Column, Place
from dapoctl.views.numbers import count, hours, interval_text, p_value, points, with_interval
from dapoctl.views.runs import called, changes

if TYPE_CHECKING:
    from dapoctl.evaluation.compare.comparison import Comparison, Contrast, Measured
    from dapoctl.evaluation.statistics.pass_at_k import Figure

ALPHA = 0.05
UNLIKE = "≠"
"""Marks a side that was not evaluated like the baseline"""
WIDE, WIDEST = 120, 150
"""Columns of terminal from which tables say more, and most"""
TERMINAL, GRID, MARKDOWN, CSV, JSON = Place.TERMINAL, Place.GRID, Place.MARKDOWN, Place.CSV, Place.JSON


@dataclass(frozen=True)
class SideRow:
    """A row of the table."""

    side: Measured
    contrast: Contrast | None
    """None for the baseline"""
    base: str
    """The baseline's label"""

    @property
    def is_significant(self) -> bool:
        """Whether its difference from the baseline is."""
        return self.contrast is not None and is_significant(self.contrast)


def rows_of(comparison: Comparison) -> list[SideRow]:
    """The sides, the baseline first."""
    base = comparison.sides[0].label
    pairs = zip(comparison.sides, (None, *comparison.contrasts), strict=True)
    return [SideRow(side, contrast, base) for side, contrast in pairs]


def columns_of(comparison: Comparison) -> list[Column[SideRow]]:
    """The columns, titled for this comparison."""
    return _columns(
        base=comparison.sides[0].label,
        avg=at_k(comparison, "avg"),
        unit=hour_unit(comparison.sides),
        several=len(comparison.contrasts) > 1,
    )


def _columns(base: str, avg: str, unit: str, several: bool) -> list[Column[SideRow]]:
    side, versus = _of_side, _of_contrast
    raw_p = MARKDOWN | (TERMINAL if several else Place.NOWHERE) | Place.PROGRAMS
    return [
        side("label", value=_label, text=_label, style=_bold, right=False, places=TERMINAL | MARKDOWN | CSV),
        side("label", text=_marked_label, right=False, places=GRID),
        side("run", title="run", text=_called, right=False, stretch=14, middle=True, places=GRID),
        side("run", title="run", value=_run, text=lambda row: row.side.evaluation.name, right=False, escape=True,
             places=MARKDOWN | CSV),
        side("step", value=lambda row: row.side.evaluation.step, places=CSV),
        side("set", value=lambda row: row.side.evaluation.set, places=CSV),
        side("model", value=lambda row: row.side.evaluation.model, places=CSV),
        side("components", title="components", value=lambda row: " ".join(row.side.evaluation.run.components),
             text=lambda row: changes(row.side.evaluation.run), right=False, rank=8, stretch=12, grid_order=5,
             places=GRID | CSV),
        side("k", value=lambda row: row.side.evaluation.k, places=CSV),
        side("problems", value=lambda row: len(row.side.evaluation.scores), places=CSV),
        side("problems", title="problems x k", text=_problems, rank=7, grid_order=3, places=GRID),
        side("problems", title="problems x k", text=_measured, places=MARKDOWN),
        side("complete", value=lambda row: row.side.evaluation.complete, places=CSV),
        side("avg", title=f"{avg} [95%]", titles={MARKDOWN: "avg@k [95%]"}, value=lambda row: row.side.figure("avg").value,
             text=_avg, rank=2, places=Place.PEOPLE | CSV),
        side("avg_low", value=lambda row: row.side.figure("avg").interval.low, places=CSV),
        side("avg_high", value=lambda row: row.side.figure("avg").interval.high, places=CSV),
        side("pass", value=lambda row: row.side.figure("pass").value, places=CSV),
        side("maj", value=lambda row: row.side.figure("maj").value, places=CSV),
        side("length_mean", value=lambda row: row.side.figure("length_mean").value, places=CSV),
        side("metrics", value=lambda row: figures_record(row.side.figures), places=JSON),
        side("noise", value=lambda row: asdict(row.side.noise), places=JSON),
        side("first", value=lambda row: row.base, places=JSON, part="comparison"),
        versus("second", value=lambda contrast: contrast.label, places=JSON),
        versus("problems", value=lambda contrast: len(contrast.problems), places=JSON),
        versus("paired", value=lambda contrast: len(contrast.problems), places=CSV),
        versus("difference", title=f"minus {base} [95%]", value=lambda contrast: contrast.difference,
               text=lambda contrast: with_interval(contrast.difference, contrast.interval, signed=True),
               baseline="baseline", style=_emphasis),
        versus("low", value=lambda contrast: contrast.interval.low),
        versus("high", value=lambda contrast: contrast.interval.high),
        versus("noise", title="sampling noise", value=lambda contrast: asdict(contrast.noise),
               text=lambda contrast: interval_text(contrast.noise), since=WIDEST, rank=9, grid_order=2,
               places=TERMINAL | GRID | JSON),
        versus("p", title="p", value=lambda contrast: contrast.test.p, text=lambda contrast: p_value(contrast.test.p),
               style=_emphasis, since=WIDE, places=raw_p),
        versus("test", value=lambda contrast: contrast.test.method, places=JSON),
        versus("p_holm", title="p Holm" if several else "p", titles={MARKDOWN: "p (Holm)"},
               value=lambda contrast: contrast.holm, text=lambda contrast: p_value(contrast.holm), style=_emphasis, rank=1),
        versus("detectable", title="MDE", titles={MARKDOWN: "minimum detectable effect"},
               value=lambda contrast: contrast.detectable,
               text=lambda contrast: points(contrast.detectable, signed=False), rank=3),
        versus("higher", title="up", value=lambda contrast: contrast.higher, text=lambda contrast: str(contrast.higher),
               since=WIDE, rank=6, grid_order=1, places=TERMINAL | GRID | Place.PROGRAMS),
        versus("lower", title="down", value=lambda contrast: contrast.lower, text=lambda contrast: str(contrast.lower),
               since=WIDE, rank=6, grid_order=1, places=TERMINAL | GRID | Place.PROGRAMS),
        versus("pass", value=lambda contrast: figures_record(contrast.curve), places=JSON),
        versus("pass_p", value=lambda contrast: contrast.curve_test.p, places=JSON),
        versus("badges", value=_badges_text, places=CSV),
        versus("badges", value=lambda contrast: [asdict(badge) for badge in contrast.badges], places=JSON),
        versus("config", value=lambda contrast: asdict(contrast.config), places=JSON),
        side("train_hours", title=f"{unit} h", titles={MARKDOWN: "train hours"}, value=lambda row: row.side.cost.train_hours,
             text=lambda row: hours(row.side.cost.train_hours), rank=4, places=Place.PEOPLE | CSV),
        side("train_tokens", title="tokens", titles={MARKDOWN: "train tokens"}, value=lambda row: row.side.cost.train_tokens,
             text=lambda row: count(row.side.cost.train_tokens), rank=5, places=Place.PEOPLE | CSV),
        side("eval_hours", title="eval h", value=lambda row: row.side.cost.eval_hours,
             text=lambda row: hours(row.side.cost.eval_hours), since=WIDE, rank=10, grid_order=4,
             places=TERMINAL | GRID | CSV),
        side("eval_tokens", title="eval tokens", value=lambda row: row.side.cost.eval_tokens,
             text=lambda row: count(row.side.cost.eval_tokens), since=WIDE, rank=10, grid_order=4,
             places=TERMINAL | GRID | CSV),
        side("cost", value=lambda row: row.side.cost.as_dict(), places=JSON),
    ]  # fmt: skip


def _of_side(key: str, **options: Any) -> Column[SideRow]:
    """A column about the side itself."""
    return Column(key=key, **{"part": "run", **options})


def _of_contrast(
    key: str,
    value: Callable[[Contrast], Any] | None = None,
    text: Callable[[Contrast], str] | None = None,
    baseline: str = "",
    **options: Any,
) -> Column[SideRow]:
    """A column about the difference from the baseline; the baseline's own cell is empty or says `baseline`."""

    def of_row(of: Callable[[Contrast], Any], otherwise: str) -> Callable[[SideRow], Any]:
        return lambda row: otherwise if row.contrast is None else of(row.contrast)

    values = None if value is None else of_row(value, "")
    texts = None if text is None else of_row(text, baseline)
    return Column(key=key, value=values, text=texts, part="comparison", **options)


def at_k(comparison: Comparison, name: str) -> str:
    """`avg@32`, or `avg@k` where the sides have different k."""
    ks = {side.evaluation.k for side in comparison.sides}
    return f"{name}@{ks.pop()}" if len(ks) == 1 else f"{name}@k"


def hour_unit(sides: Sequence[Measured]) -> str:
    """What hours of these runs are hours of: GPU, CPU or, where they are unlike or unknown, device."""
    kinds = {side.cost.gpu for side in sides}
    return "GPU" if kinds == {True} else "CPU" if kinds == {False} else "device"


def is_significant(contrast: Contrast) -> bool:
    """Whether a difference is significant at the level of 5%, corrected for the number of contrasts."""
    return contrast.holm < ALPHA


def figures_record(figures: dict[Any, Figure]) -> dict[str, dict[str, float]]:
    """Metrics with the ends of their intervals, for JSON."""
    return {str(name): {"value": figure.value, **asdict(figure.interval)} for name, figure in figures.items()}


def _label(row: SideRow) -> str:
    return row.side.label


def _marked_label(row: SideRow) -> Text:
    mark = UNLIKE if row.contrast is not None and row.contrast.badges else ""
    return Text.assemble((row.side.label, "bold"), (mark, "bold yellow"), end="")


def _called(row: SideRow) -> str:
    return f"{called(row.side.evaluation.run)}@{row.side.evaluation.step}"


def _run(row: SideRow) -> str:
    return row.side.evaluation.run.id


def _measured(row: SideRow) -> str:
    return f"{len(row.side.evaluation.scores)} x {row.side.evaluation.k}"


def _problems(row: SideRow) -> str:
    return problems_text(row.side)


def problems_text(side: Measured) -> str:
    """`30 x 32`, or `12 of 30 x 32` for an evaluation that is not complete."""
    evaluation = side.evaluation
    of = "" if evaluation.complete else f" of {evaluation.expected}"
    return f"{len(evaluation.scores)}{of} x {evaluation.k}"


def _avg(row: SideRow) -> str:
    avg: Figure = row.side.figure("avg")
    return with_interval(avg.value, avg.interval)


def _bold(_row: SideRow) -> str:
    return "bold"


def _emphasis(row: SideRow) -> str:
    return "dim" if row.contrast is None else "bold" if row.is_significant else ""


def _badges_text(contrast: Contrast) -> str:
    return "; ".join(f"{badge.kind}: {badge.words}" for badge in contrast.badges)
