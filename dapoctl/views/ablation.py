"""An ablation as a table for a terminal and the terminal UI, as JSON, Markdown and comma-separated values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from dapoctl.evaluation.compare.ablation import OF_A_SEED, Ablation, Effect, Row
from dapoctl.evaluation.statistics.intervals import LEVEL
from dapoctl.views import columns, tables
from dapoctl.views.columns import Column, Place
from dapoctl.views.comparison_table import ALPHA, UNLIKE, WIDE
from dapoctl.views.markdown import escaped, known
from dapoctl.views.numbers import UNKNOWN, p_value, share, with_interval

if TYPE_CHECKING:
    from rich.console import RenderableType

ONE_SEED = "*"
"""Marks an interval that leaves seeds out"""
NOTES = (
    "[95%]: clustered by problems and seeds; the difference of means over seeds and over the problems that"
    " all runs of the row and of the baseline measured, in points. p: below 0.05 where the interval excludes 0,"
    " then corrected by Holm for the number of rows."
)
NO_SEEDS = (
    f"{ONE_SEED} one seed, of the row or of the baseline: clustered by problems only; another seed may differ by more."
)


def name_of(row: Row, table: Ablation) -> str:
    """What the row's runs have that the baseline's have not: `+clip_higher -clip optim.lr=1e-05`."""
    if row is table.rows[0]:
        return ", ".join(table.baseline.first.run.components) or "baseline"
    change = row.change
    changes = [*(f"+{name}" for name in change.only_second), *(f"-{name}" for name in change.only_first)]
    changes += [f"{key}={after}" for key, (_, after) in change.keys.items() if key not in OF_A_SEED]
    changes += [name.replace("file of ", "file:") for name in change.versions if name.startswith("file of ")]
    if row.arm.first.step != table.baseline.first.step:
        changes.append(f"step {row.arm.first.step}")
    return " ".join(changes) or "the same"


@dataclass(frozen=True)
class ArmRow:
    """A row of the table, and one of its effects in tables that have a row for each."""

    row: Row
    table: Ablation
    metric: str = "avg"

    @property
    def is_baseline(self) -> bool:
        """Whether the others are compared with it."""
        return self.row is self.table.rows[0]

    @property
    def effect(self) -> Effect:
        """Of its metric; only for rows that were measured."""
        return self.row.effects[self.metric]


def rows_of(table: Ablation) -> list[ArmRow]:
    """The rows, the baseline first."""
    return [ArmRow(row, table) for row in table.rows]


def columns_of(table: Ablation) -> list[Column[ArmRow]]:
    """The columns; those of an effect are CSV's and those of the JSON object of a metric."""
    csv, json, grid = Place.CSV, Place.JSON, Place.GRID
    return [
        Column(key="name", title="components", value=_name, text=_name, right=False, escape=True, fold=True, stretch=18,
               style=lambda row: "bold" if row.is_baseline else ""),
        Column(key="baseline", value=lambda row: row.is_baseline, places=json),
        Column(key="badges", text=lambda row: UNLIKE if row.row.badges else "", style=lambda _row: "bold yellow",
               right=False, rank=6, places=grid),
        Column(key="components", value=lambda row: " ".join(row.row.arm.first.run.components), places=csv),
        Column(key="components", value=lambda row: list(row.row.arm.first.run.components), places=json),
        Column(key="step", value=lambda row: row.row.arm.first.step),
        Column(key="runs", value=lambda row: [each.run.id for each in row.row.arm.evaluations], places=json),
        Column(key="seeds", title="seeds", value=lambda row: len(row.row.arm.seeds),
               text=lambda row: str(len(row.row.arm.evaluations)), rank=3, places=Place.PEOPLE | csv),
        Column(key="seeds", value=lambda row: list(row.row.arm.seeds), places=json),
        Column(key="problems", title="problems", value=lambda row: row.row.problems,
               text=lambda row: str(row.row.problems), rank=5),
        Column(key="avg", title="avg", text=_avg, rank=2),
        Column(key="difference", title="difference [95%]", text=_of_effect(lambda row: difference_text(row.effect), "baseline"),
               style=_emphasis),
        Column(key="p_holm", title="p Holm", titles={Place.MARKDOWN: "p (Holm)"},
               text=_of_effect(lambda row: p_value(row.effect.holm)), style=_emphasis, rank=1),
        Column(key="pass", title=f"pass@{table.k} [95%]", text=lambda row: _other_metric(row, "pass"), rank=7, since=WIDE),
        Column(key="maj", title="maj [95%]", text=lambda row: _other_metric(row, "maj"), rank=8, since=WIDE),
        Column(key="change", value=lambda row: asdict(row.row.change), places=json),
        Column(key="effects", value=_effects, places=json),
        Column(key="badges", value=lambda row: [asdict(badge) for badge in row.row.badges], places=json),
        Column(key="metric", value=lambda row: row.metric, places=csv),
        Column(key="value", value=lambda row: row.effect.value, part="effect"),
        Column(key="difference", value=lambda row: row.effect.difference, part="effect"),
        Column(key="low", value=lambda row: row.effect.interval.low, part="effect"),
        Column(key="high", value=lambda row: row.effect.interval.high, part="effect"),
        Column(key="p", value=lambda row: row.effect.p, part="effect"),
        Column(key="p_holm", value=lambda row: row.effect.holm, part="effect"),
        Column(key="accounts_for_seeds", value=lambda row: row.effect.seeds, part="effect"),
    ]  # fmt: skip


def _name(row: ArmRow) -> str:
    return name_of(row.row, row.table)


def _avg(row: ArmRow) -> str:
    return share(row.effect.value) if row.row.effects else UNKNOWN


def _of_effect(text: Callable[[ArmRow], str], baseline: str = "") -> Callable[[ArmRow], str]:
    return lambda row: "" if not row.row.effects else baseline if row.is_baseline else text(row)


def _emphasis(row: ArmRow) -> str:
    if row.is_baseline or not row.row.effects:
        return "dim" if row.is_baseline else ""
    return "bold" if row.effect.holm < ALPHA else ""


def _other_metric(row: ArmRow, metric: str) -> str:
    effect = row.row.effects.get(metric)
    if effect is None:
        return ""
    return share(effect.value) if row.is_baseline else difference_text(effect)


def difference_text(effect: Effect) -> str:
    """`+3.1 [-0.4, +6.0]`, with a mark where seeds are left out."""
    return with_interval(effect.difference, effect.interval, signed=True) + ONE_SEED * (not effect.seeds)


def _effects(row: ArmRow) -> dict[str, dict[str, Any]]:
    shown = columns_of(row.table)
    return {name: columns.record(shown, ArmRow(row.row, row.table, name), "effect") for name in row.row.effects}


def page(table: Ablation, width: int) -> Iterator[RenderableType]:
    """The matrix, then what should be known about it."""
    yield tables.text(f"{table.set}: what each set of components adds to {table.baseline.first.run.id}", "bold")
    yield columns.terminal_table(columns_of(table), rows_of(table), width)
    for row in table.rows:
        if row.badges:
            kinds = "; ".join(f"{badge.kind} {badge.words}" for badge in row.badges)
            where = "within the baseline" if row is table.rows[0] else f"{name_of(row, table)} is unlike the baseline"
            yield tables.text(f"{where}: {kinds}", "yellow")
    for word, why in table.left_out:
        yield tables.text(f"left out: {word}: {why}", "yellow")
    yield Text()
    yield tables.note(NOTES)
    if leaves_seeds_out(table):
        yield tables.note(NO_SEEDS)


def ablation_values(table: Ablation) -> Any:
    """Everything; shares and differences are fractions, null is unknown."""
    shown = columns_of(table)
    return known(
        {
            "set": table.set,
            "level": LEVEL,
            "k": table.k,
            "rows": [columns.record(shown, row) for row in rows_of(table)],
            "left_out": [{"run": word, "why": why} for word, why in table.left_out],
        }
    )


def ablation_markdown(table: Ablation) -> str:
    """The matrix and its notes."""
    notes = [NOTES, *([f"\\{NO_SEEDS}"] if leaves_seeds_out(table) else [])]
    notes += [f"Left out: {escaped(word)}: {escaped(why)}" for word, why in table.left_out]
    return "\n\n".join([f"### {escaped(table.set)}", columns.markdown(columns_of(table), rows_of(table)), *notes])


def leaves_seeds_out(table: Ablation) -> bool:
    """Whether some interval is for problems only."""
    return any(not effect.seeds for row in table.rows[1:] for effect in row.effects.values())


def ablation_csv(table: Ablation) -> str:
    """One row per arm and metric."""
    rows = [ArmRow(row, table, metric) for row in table.rows for metric in row.effects]
    return columns.csv(columns_of(table), rows)
