"""A comparison as JSON, Markdown and comma-separated values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dapoctl.evaluation.statistics.intervals import LEVEL
from dapoctl.views import numbers
from dapoctl.views.markdown import csv_text, escaped, known, markdown_table

if TYPE_CHECKING:
    from dapoctl.evaluation.compare.comparison import Comparison, Contrast, Line, Measured
    from dapoctl.evaluation.statistics.intervals import Interval
    from dapoctl.evaluation.statistics.pass_at_k import Figure


def comparison_values(found: Comparison, lines: Sequence[Line]) -> Any:
    """Everything, with the problems of `lines`; shares and differences are fractions, null is unknown."""
    return known(
        {
            "set": found.set,
            "seed": found.seed,
            "level": LEVEL,
            "runs": [side_values(side) for side in found.sides],
            "comparisons": [_contrast(each, found.sides[0].label) for each in found.contrasts],
            "missing": [{"run": word, "why": why} for word, why in found.missing],
            "problems": [
                {"id": line.problem, "right": [None if cell is None else cell[0] for cell in line.cells]}
                for line in lines
            ],
        }
    )


def side_values(side: Measured) -> dict[str, Any]:
    """One evaluation: what it is, its metrics with their intervals for problems drawn anew, its cost."""
    return {
        "label": side.label,
        **side.evaluation.as_dict(),
        "metrics": {name: _figure(figure) for name, figure in side.figures.items()},
        "noise": asdict(side.noise),
        "cost": side.cost.as_dict(),
    }


def _figure(figure: Figure) -> dict[str, float]:
    return {"value": figure.value, "low": figure.interval.low, "high": figure.interval.high}


def _contrast(each: Contrast, base: str) -> dict[str, Any]:
    return {
        "first": base,
        "second": each.label,
        "problems": len(each.problems),
        "difference": each.difference,
        **asdict(each.interval),
        "noise": asdict(each.noise),
        "p": each.test.p,
        "test": each.test.method,
        "p_holm": each.holm,
        "detectable": each.detectable,
        "higher": each.higher,
        "lower": each.lower,
        "pass": {str(j): _figure(figure) for j, figure in each.curve.items()},
        "badges": [asdict(badge) for badge in each.badges],
        "config": asdict(each.config),
    }


def comparison_markdown(found: Comparison, lines: Sequence[Line]) -> str:
    """The summary, the badges and the problems of `lines`."""
    base = found.sides[0].label
    headers = ["", "run", "problems x k", "avg@k [95%]", f"minus {base} [95%]", "p", "p (Holm)", "detectable"]
    headers += ["train hours", "train tokens"]
    rows = []
    for side, each in zip(found.sides, (None, *found.contrasts), strict=True):
        figure = side.figure("avg")
        row = [side.label, escaped(side.evaluation.name), f"{len(side.evaluation.scores)} x {side.evaluation.k}"]
        row += [numbers.with_interval(figure.value, figure.interval)]
        if each is None:
            row += ["baseline", "", "", ""]
        else:
            row += [numbers.with_interval(each.difference, each.interval, signed=True)]
            row += [
                numbers.p_value(each.test.p),
                numbers.p_value(each.holm),
                numbers.points(each.detectable, signed=False),
            ]
        rows.append([*row, numbers.hours(side.cost.train_hours), numbers.count(side.cost.train_tokens)])
    parts = [f"### {escaped(found.set)}", "", markdown_table(headers, rows, left=(0, 1)), ""]
    parts += [
        "95% intervals: problems drawn anew (cluster bootstrap). Differences in points, paired by problem;"
        f" p: {', '.join(sorted({each.test.method for each in found.contrasts}))}.",
        "",
    ]
    for each in found.contrasts:
        parts += [f"- {each.label} / {base}: **{badge.kind}** {escaped(badge.words)}" for badge in each.badges]
    parts += [f"- left out: {escaped(word)}: {escaped(why)}" for word, why in found.missing]
    if lines:
        cells = [
            [escaped(line.problem), *("" if cell is None else f"{cell[0]}/{cell[1]}" for cell in line.cells)]
            for line in lines
        ]
        parts += ["", markdown_table(["problem", *(side.label for side in found.sides)], cells)]
    return "\n".join(parts)


def comparison_csv(found: Comparison) -> str:
    """One row per run; the columns of the difference are empty for the baseline."""
    headers = ["label", "run", "step", "set", "model", "components", "k", "problems", "complete"]
    headers += ["avg", "avg_low", "avg_high", "pass", "maj", "length_mean", "paired", "difference", "low", "high"]
    headers += ["p", "p_holm", "detectable", "higher", "lower", "badges"]
    headers += ["train_hours", "train_tokens", "eval_hours", "eval_tokens"]
    rows = [_record(side, each) for side, each in zip(found.sides, (None, *found.contrasts), strict=True)]
    return csv_text(headers, rows)


def _record(side: Measured, each: Contrast | None) -> list[Any]:
    evaluation, figure = side.evaluation, side.figure("avg")
    found: list[Any] = [side.label, evaluation.run.id, evaluation.step, evaluation.set, evaluation.model]
    found += [" ".join(evaluation.run.components), evaluation.k, len(evaluation.scores), evaluation.complete]
    found += [
        figure.value,
        *_ends(figure.interval),
        *(side.figure(name).value for name in ("pass", "maj", "length_mean")),
    ]
    if each is None:
        found += [""] * 10
    else:
        found += [len(each.problems), each.difference, *_ends(each.interval), each.test.p, each.holm, each.detectable]
        found += [each.higher, each.lower, "; ".join(f"{badge.kind}: {badge.words}" for badge in each.badges)]
    cost = side.cost
    return [*found, cost.train_hours, cost.train_tokens, cost.eval_hours, cost.eval_tokens]


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high
