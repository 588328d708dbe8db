"""A comparison as JSON, Markdown and comma-separated values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dapoctl.evaluation.statistics.intervals import LEVEL
from dapoctl.evaluation.statistics.pass_at_k import powers
from dapoctl.views import columns
from dapoctl.views.comparison import INTERVALS, MDE, curve_verdict, verdict
from dapoctl.views.comparison_table import columns_of, rows_of
from dapoctl.views.markdown import escaped, known
from dapoctl.views.markdown import table as markdown_table
from dapoctl.views.numbers import points, share

if TYPE_CHECKING:
    from dapoctl.evaluation.compare.comparison import Comparison, Line


def comparison_values(comparison: Comparison, lines: Sequence[Line]) -> Any:
    """Everything, with the problems of `lines`; shares and differences are fractions, null is unknown."""
    table, rows = columns_of(comparison), rows_of(comparison)
    return known(
        {
            "set": comparison.set,
            "seed": comparison.seed,
            "level": LEVEL,
            "runs": [
                {"label": row.side.label, **row.side.evaluation.as_dict(), **columns.record(table, row, "run")}
                for row in rows
            ],
            "comparisons": [columns.record(table, row, "comparison") for row in rows[1:]],
            "cautions": list(comparison.cautions),
            "missing": [{"run": word, "why": why} for word, why in comparison.missing],
            "problems": [
                {"id": line.problem, "right": [None if cell is None else cell[0] for cell in line.cells]}
                for line in lines
            ],
        }
    )


def comparison_markdown(comparison: Comparison, lines: Sequence[Line]) -> str:
    """The summary, the badges and the problems of `lines`."""
    base = comparison.sides[0].label
    summary = columns.markdown(columns_of(comparison), rows_of(comparison))
    parts = [f"### {escaped(comparison.set)}", "", summary, ""]
    methods = ", ".join(sorted({contrast.test.method for contrast in comparison.contrasts}))
    parts += [
        f"95% intervals: {INTERVALS}. Differences in points, paired by problem; p: {methods}. MDE: {MDE}.",
        "",
        *(f"- {escaped(verdict(contrast, base))}" for contrast in comparison.contrasts),
        *(f"- {escaped(words)}" for words in comparison.cautions),
    ]
    for contrast in comparison.contrasts:
        parts += [f"- {contrast.label} / {base}: **{badge.kind}** {escaped(badge.words)}" for badge in contrast.badges]
    parts += [f"- left out: {escaped(word)}: {escaped(why)}" for word, why in comparison.missing]
    parts += _curves(comparison)
    if lines:
        cells = [
            [escaped(line.problem), *("" if cell is None else f"{cell[0]}/{cell[1]}" for cell in line.cells)]
            for line in lines
        ]
        headers = ["problem", *(side.label for side in comparison.sides)]
        parts += ["", *markdown_table(headers, cells, left=(0,))]
    return "\n".join(parts)


def _curves(comparison: Comparison) -> list[str]:
    """The table of pass@j with the differences, and one verdict for each row of them; nothing at k = 1."""
    all_j = sorted({j for side in comparison.sides for j in powers(side.evaluation.k)})
    if len(all_j) == 1:
        return []
    base = comparison.sides[0].label
    rows = [[side.label, *(share(side.figure(f"pass@{j}").value) for j in all_j)] for side in comparison.sides]
    rows += [
        [f"{contrast.label}-{base}", *(points(contrast.curve[j].value) if j in contrast.curve else "" for j in all_j)]
        for contrast in comparison.contrasts
    ]
    verdicts = [f"- {escaped(curve_verdict(contrast, base))}" for contrast in comparison.contrasts if contrast.curve]
    return ["", *markdown_table(["", *(f"pass@{j}" for j in all_j)], rows, left=(0,)), "", *verdicts]


def comparison_csv(comparison: Comparison) -> str:
    """One row per run; the columns of the difference are empty for the baseline."""
    return columns.csv(columns_of(comparison), rows_of(comparison))
