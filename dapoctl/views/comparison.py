"""A comparison as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from dapoctl.evaluation.statistics.pass_at_k import powers
from dapoctl.evaluation.statistics.significance import FEWEST
from dapoctl.views import numbers, tables
from dapoctl.views.columns import terminal_table
from dapoctl.views.comparison_table import (
    WIDE,
    WIDEST,
    at_k,
    columns_of,
    is_significant,
    problems_text,
    rows_of,
)
from dapoctl.views.evaluation_table import EvaluationRow
from dapoctl.views.evaluation_table import columns_of as evaluation_columns
from dapoctl.views.runs import diff_lines
from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.evaluation.compare.comparison import Comparison, Contrast, Line, Measured

LONGEST_ID = 24
UNCOMPARED = ("incomplete", "unasked", "untrained", "unknown")
"""Kinds of badges that are not about a setting of both sides"""


INTERVALS = "for other problems like these (Bayesian bootstrap with unseen problems)"
MDE = (
    "minimum detectable effect, the smallest true difference that the test finds with 80% power on problems as hard as"
    " the baseline's, by simulation"
)


def page(comparison: Comparison, lines: Sequence[Line], rows: int, columns: int) -> Iterator[RenderableType]:
    """All sections: who is compared, the summary, badges, what to make of it, responses, pass@j, matrix, configurations."""
    yield from _who(comparison, columns)
    yield tables.heading(f"{comparison.set}: does it help?")
    yield terminal_table(columns_of(comparison), rows_of(comparison), columns)
    yield from _badges(comparison)
    yield from _verdicts(comparison)
    yield from caution_lines(comparison)
    yield from notes(comparison, columns)
    yield from responses(comparison, columns)
    yield from curves(comparison)
    yield from matrix(comparison, lines, rows, columns)
    yield from configs(comparison)


def _who(comparison: Comparison, columns: int) -> Iterator[RenderableType]:
    wide = columns >= WIDE
    table = tables.table(("", "run@step", "model", "problems x k", "components"), left=(0, 1, 2, 3, 4))
    for side in comparison.sides:
        evaluation = side.evaluation
        facts = [_model(evaluation.model), problems_text(side)]
        facts.append(", ".join(evaluation.run.components) or "no components")
        if wide:
            table.add_row(tables.text(side.label, "bold"), *map(tables.text, (evaluation.name, *facts)))
        else:
            facts_text = one_line(f"{evaluation.name}: {', '.join(facts)}")
            yield Text.assemble((f"{side.label}  ", "bold"), facts_text)
    if wide:
        yield table
    for run, why in comparison.missing:
        yield tables.text(f"left out: `{run}`: {why}", "yellow")
    for side in comparison.sides:
        for trouble in side.evaluation.trouble:
            yield tables.text(f"{side.label}: {trouble}", "yellow")


def _model(path: str) -> str:
    """A hub name as it is, the end of a local path."""
    parts = path.split("/")
    return path if len(parts) <= 2 and parts[0] else "/".join(["…", *parts[-1:]]) if path else "model unknown"


def _badges(comparison: Comparison) -> Iterator[Text]:
    for contrast in comparison.contrasts:
        if contrast.badges:
            yield Text("\n").append_text(badge_lines(contrast, comparison.sides[0].label))


def badge_lines(contrast: Contrast, base: str) -> Text:
    """What is unlike between a side and the baseline, a line for each thing."""
    text = Text(f"{contrast.label} is unlike {base} ", "yellow")
    for badge in contrast.badges:
        text.append("\n  ").append(f" {badge.kind} ", "reverse").append(f" {one_line(badge.words)}", "not bold")
    return text


def _verdicts(comparison: Comparison) -> Iterator[Text]:
    yield Text()
    for contrast in comparison.contrasts:
        yield tables.text(verdict(contrast, comparison.sides[0].label))


def caution_lines(comparison: Comparison) -> Iterator[Text]:
    """What the figures do not say."""
    for words in comparison.cautions:
        yield tables.text(f"! {words}", "yellow")


def verdict(contrast: Contrast, base: str) -> str:
    """A sentence on a contrast with the side `base`, so that nobody reads noise."""
    count = len(contrast.problems)
    if not count:
        return f"{contrast.label}: no problem was measured on both sides, so nothing can be said"
    over = f"over {count} problem{'s' * (count > 1)}, of which {contrast.higher + contrast.lower} differ{_caution(contrast)}"
    p = f"p = {numbers.p_value(contrast.holm)}".replace("= <", "< ")
    if is_significant(contrast):
        return f"{contrast.label} is {'higher' if contrast.difference > 0 else 'lower'} than {base} ({p}) {over}"
    sentence = f"{contrast.label}: no significant difference from {base} ({p}) {over}"
    if not math.isfinite(contrast.detectable):
        return f"{sentence}; no difference of such problems is detected with 80% power"
    least = numbers.points(contrast.detectable, signed=False)
    return f"{sentence}; minimum detectable effect {least} points (80% power)"


def _caution(contrast: Contrast) -> str:
    kinds = [badge.kind for badge in contrast.badges if badge.kind not in UNCOMPARED]
    return f" (but so {'do' if len(kinds) > 1 else 'does'} the evaluations' {', '.join(kinds)})" if kinds else ""


def notes(comparison: Comparison, columns: int) -> Iterator[Text]:
    """How the figures are to be read."""
    methods = sorted({contrast.test.method for contrast in comparison.contrasts})
    count = len(comparison.contrasts)
    before = " before Holm's correction" if count > 1 else ""
    corrected = f"; Holm: corrected for {count} comparisons" if count > 1 else ""
    tests = f" p: {' / '.join(methods)}{corrected}." if methods else ""
    yield Text()
    yield tables.note(
        f"[95%]: {INTERVALS}."
        f"{' sampling noise: for other responses to the same problems.' if columns >= WIDEST else ''}"
        f" Differences in points, paired by problem; their intervals contain 0 exactly where p{before} is 0.05 or more.{tests}"
        f" MDE: {MDE}."
        " Hours and tokens: what training up to the step took; eval: what the evaluation took."
    )
    if any(0 <= contrast.higher + contrast.lower < FEWEST and contrast.problems for contrast in comparison.contrasts):
        yield tables.note(f"Where fewer than {FEWEST} problems differ, p cannot fall below 0.05.")


def configs(comparison: Comparison) -> Iterator[Text]:
    """How the runs differ from the baseline's, first of all in components."""
    base = comparison.sides[0]
    for side, contrast in zip(comparison.sides[1:], comparison.contrasts, strict=True):
        yield tables.heading(f"{base.label} -> {side.label}: what differs between the runs")
        if side.evaluation.run.id == base.evaluation.run.id:
            yield tables.note(f"one run, at step {base.evaluation.step} and step {side.evaluation.step}")
            continue
        for line in diff_lines(base.evaluation.run.id, side.evaluation.run.id, contrast.config)[2:]:
            if line:
                yield Text(line, overflow="ellipsis", no_wrap=True)


def responses(comparison: Comparison, columns: int) -> Iterator[RenderableType]:
    """pass@k, maj@k, length, and how many responses have no answer, by side."""
    yield tables.heading("what the responses are like")
    table = evaluation_columns(at_k(comparison, "pass"), at_k(comparison, "maj"), wide=columns >= WIDE)
    # Tasks without such marks, and older evaluations, do not say.
    if not any("unmarked_fraction" in side.figures for side in comparison.sides):
        table = [column for column in table if column.key != "unmarked_fraction"]
    yield terminal_table(table, map(_evaluation_row, comparison.sides), columns)


def _evaluation_row(side: Measured) -> EvaluationRow:
    names = dict.fromkeys(("pass", "maj", *side.figures))
    return EvaluationRow(
        {name: side.figure(name).value for name in names},
        {name: side.figure(name).interval for name in ("pass", "maj")},
        label=side.label,
    )


def curves(comparison: Comparison) -> Iterator[RenderableType]:
    """pass@j by j, and its difference from the baseline; nothing at k = 1."""
    if max(side.evaluation.k for side in comparison.sides) == 1:
        return
    all_j = sorted({j for side in comparison.sides for j in powers(side.evaluation.k)})
    yield tables.heading("pass@j: solved by at least one of j responses")
    table = tables.table(["", "", *(f"j = {j}" for j in all_j)], left=(0, 1))
    curves_of_sides = [_curve(side, all_j) for side in comparison.sides]
    top = max((value for curve in curves_of_sides for value in curve if math.isfinite(value)), default=1.0)
    for side, curve in zip(comparison.sides, curves_of_sides, strict=True):
        cells = [numbers.share(value) if math.isfinite(value) else "" for value in curve]
        bars = numbers.bars([value for value in curve if math.isfinite(value)], top)
        table.add_row(tables.text(side.label, "bold"), Text(bars, "cyan"), *cells)
    for contrast in comparison.contrasts:
        cells = []
        for j in all_j:
            figure = contrast.curve.get(j)
            cells.append("" if figure is None else numbers.points(figure.value))
        table.add_row(tables.text(f"{contrast.label}-{comparison.sides[0].label}", "dim"), "", *cells)
    yield table
    for contrast in comparison.contrasts:
        if contrast.curve:
            yield tables.note(curve_verdict(contrast, comparison.sides[0].label))


def curve_verdict(contrast: Contrast, base: str) -> str:
    """One sentence on all differences of pass@j, so that nobody picks the j that suits."""
    p = f"p = {numbers.p_value(contrast.curve_test.p)}".replace("= <", "< ")
    return f"{contrast.label}-{base}: {p} for the whole row ({contrast.curve_test.method}); no j has a test of its own."


def _curve(side: Measured, all_j: Sequence[int]) -> list[float]:
    return [side.figure(f"pass@{j}").value for j in all_j]


def matrix(comparison: Comparison, lines: Sequence[Line], rows: int, columns: int) -> Iterator[RenderableType]:
    """Problems by runs: how many responses are right, by shade and digits, those that differ most first."""
    yield tables.heading("problem by problem: right responses, largest difference from the baseline first")
    if not lines:
        yield tables.note(
            f"none of {len(comparison.matrix)} problems fits" if comparison.matrix else "no problem was measured"
        )
        return
    fitting = max(1, (columns - LONGEST_ID - 12) // 9)
    sides = comparison.sides[:fitting]
    headers = ["problem", *(f"{side.label} of {side.evaluation.k}" for side in sides), "points"]
    table = tables.table(headers)
    for line in lines[:rows]:
        name = one_line(line.problem)
        short = name if len(name) <= LONGEST_ID else f"{name[: LONGEST_ID - 1]}…"
        table.add_row(Text(short), *(_cell(cell) for cell in line.cells[: len(sides)]), largest_difference(line))
    yield table
    if len(sides) < len(comparison.sides):
        yield tables.note(f"{len(comparison.sides) - len(sides)} runs more in a wider terminal, or with --json")
    if len(lines) > rows:
        yield tables.note(f"{len(lines) - rows} problems more: --rows {len(lines)} shows them")


def _cell(cell: tuple[int, int] | None) -> Text:
    if cell is None:
        return Text("·", "dim")
    return Text.assemble((numbers.shade(cell[0] / cell[1]), "green"), f" {cell[0]:>2}")


def largest_difference(line: Line) -> str:
    """The largest difference from the baseline, in points; empty where there is none to speak of."""
    first, *others = line.cells
    shares = [cell[0] / cell[1] - first[0] / first[1] for cell in others if cell and first]
    return numbers.points(max(shares, key=abs)) if shares else ""
