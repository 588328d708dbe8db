"""A comparison as JSON, Markdown and comma-separated values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dapoctl.evaluation.statistics.intervals import LEVEL
from dapoctl.views import columns
from dapoctl.views.comparison_table import columns_of, rows_of
from dapoctl.views.markdown import escaped, known
from dapoctl.views.markdown import table as markdown_table

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
    parts += [
        "95% intervals: cluster bootstrap over problems. Differences in points, paired by problem;"
        f" p: {', '.join(sorted({contrast.test.method for contrast in comparison.contrasts}))}.",
        "",
    ]
    for contrast in comparison.contrasts:
        parts += [f"- {contrast.label} / {base}: **{badge.kind}** {escaped(badge.words)}" for badge in contrast.badges]
    parts += [f"- left out: {escaped(word)}: {escaped(why)}" for word, why in comparison.missing]
    if lines:
        cells = [
            [escaped(line.problem), *("" if cell is None else f"{cell[0]}/{cell[1]}" for cell in line.cells)]
            for line in lines
        ]
        headers = ["problem", *(side.label for side in comparison.sides)]
        parts += ["", *markdown_table(headers, cells, left=(0,))]
    return "\n".join(parts)


def comparison_csv(comparison: Comparison) -> str:
    """One row per run; the columns of the difference are empty for the baseline."""
    return columns.csv(columns_of(comparison), rows_of(comparison))
