"""An ablation as a table for a terminal, as JSON, Markdown and comma-separated values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from dapoctl.evaluation.compare.ablation import OF_A_SEED, Ablation, Effect, Row
from dapoctl.evaluation.statistics.intervals import LEVEL
from dapoctl.views import numbers, tables
from dapoctl.views.comparison import ALPHA, WIDE
from dapoctl.views.markdown import csv_text, escaped, known, markdown_table

if TYPE_CHECKING:
    from rich.console import RenderableType

ONE_SEED = "*"
"""Marks an interval that leaves seeds out"""
NOTES = (
    "[95%]: for problems and seeds drawn anew; the difference of means over seeds and over the problems that"
    " all runs of the row and of the baseline measured, in points. p: Student's t,"
    " corrected by Holm for the number of rows."
)
NO_SEEDS = f"{ONE_SEED} one seed, of the row or of the baseline: for problems drawn anew only; another seed may differ by more."


def name_of(row: Row, table: Ablation) -> str:
    """What the row's runs have that the baseline's have not: `+clip_higher -clip optim.lr=1e-05`."""
    if row is table.rows[0]:
        return ", ".join(table.baseline.first.run.components) or "baseline"
    change = row.change
    words = [*(f"+{name}" for name in change.only_second), *(f"-{name}" for name in change.only_first)]
    words += [f"{key}={after}" for key, (_, after) in change.keys.items() if key not in OF_A_SEED]
    words += [name.replace("file of ", "file:") for name in change.versions if name.startswith("file of ")]
    if row.arm.first.step != table.baseline.first.step:
        words.append(f"step {row.arm.first.step}")
    return " ".join(words) or "the same"


def page(table: Ablation, columns: int) -> Iterator[RenderableType]:
    """The matrix, then what should be known about it."""
    wide = columns >= WIDE
    yield tables.text(f"{table.set}: what each set of components adds to {table.baseline.first.run.id}", "bold")
    headers = ["components", "seeds", "problems", "avg", "difference [95%]", "p Holm"]
    headers += [f"pass@{table.k} [95%]", "maj [95%]"] if wide else []
    made = tables.table(headers)
    made.columns[0].no_wrap, made.columns[0].overflow = False, "fold"
    for row in table.rows:
        made.add_row(tables.text(name_of(row, table)), *_cells(row, row is table.rows[0], wide))
    yield made
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


def _cells(row: Row, own: bool, wide: bool) -> list[str | Text]:
    cells: list[str | Text] = [str(len(row.arm.evaluations)), str(row.problems)]
    if not row.effects:
        return [*cells, numbers.UNKNOWN]
    avg = row.effects["avg"]
    cells += [numbers.share(avg.value)]
    if own:
        return [*cells, "baseline", "", *([numbers.share(row.effects[name].value) for name in ("pass", "maj")] * wide)]
    clear = avg.holm < ALPHA
    cells += [
        Text(difference_text(avg), "bold" if clear else ""),
        Text(numbers.p_value(avg.holm), "bold" if clear else ""),
    ]
    return [*cells, *([difference_text(row.effects[name]) for name in ("pass", "maj")] * wide)]


def difference_text(effect: Effect) -> str:
    """`+3.1 [-0.4, +6.0]`, with a mark where seeds are left out."""
    return numbers.with_interval(effect.difference, effect.interval, signed=True) + ONE_SEED * (not effect.seeds)


def ablation_values(table: Ablation) -> Any:
    """Everything; shares and differences are fractions, null is unknown."""
    return known(
        {
            "set": table.set,
            "level": LEVEL,
            "k": table.k,
            "rows": [_values(row, table) for row in table.rows],
            "left_out": [{"run": word, "why": why} for word, why in table.left_out],
        }
    )


def _values(row: Row, table: Ablation) -> dict[str, Any]:
    return {
        "name": name_of(row, table),
        "baseline": row is table.rows[0],
        "components": list(row.arm.first.run.components),
        "step": row.arm.first.step,
        "runs": [each.run.id for each in row.arm.evaluations],
        "seeds": list(row.arm.seeds),
        "problems": row.problems,
        "change": asdict(row.change),
        "effects": {
            name: {
                "value": each.value,
                "difference": each.difference,
                **asdict(each.interval),
                "p": each.p,
                "p_holm": each.holm,
                "accounts_for_seeds": each.seeds,
            }
            for name, each in row.effects.items()
        },
        "badges": [asdict(badge) for badge in row.badges],
    }


def ablation_markdown(table: Ablation) -> str:
    """The matrix and its notes."""
    headers = ["components", "seeds", "problems", "avg", "difference [95%]", "p (Holm)"]
    headers += [f"pass@{table.k} [95%]", "maj [95%]"]
    rows = []
    for row in table.rows:
        cells = [escaped(name_of(row, table)), *map(str, _cells(row, row is table.rows[0], wide=True))]
        rows.append([*cells, *[""] * (len(headers) - len(cells))])
    notes = [NOTES, *([f"\\{NO_SEEDS}"] if leaves_seeds_out(table) else [])]
    notes += [f"Left out: {escaped(word)}: {escaped(why)}" for word, why in table.left_out]
    return "\n\n".join([f"### {escaped(table.set)}", markdown_table(headers, rows), *notes])


def leaves_seeds_out(table: Ablation) -> bool:
    """Whether some interval is for problems only."""
    return any(not each.seeds for row in table.rows[1:] for each in row.effects.values())


def ablation_csv(table: Ablation) -> str:
    """One row per arm and metric."""
    headers = ["name", "components", "step", "seeds", "problems", "metric", "value", "difference", "low", "high"]
    rows = []
    for row in table.rows:
        first = row.arm.first
        ahead = [name_of(row, table), " ".join(first.run.components), first.step, len(row.arm.seeds), row.problems]
        for name, each in row.effects.items():
            ends = [each.interval.low, each.interval.high]
            rows.append([*ahead, name, each.value, each.difference, *ends, each.p, each.holm, each.seeds])
    return csv_text([*headers, "p", "p_holm", "accounts_for_seeds"], rows)
