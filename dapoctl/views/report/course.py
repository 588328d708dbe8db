"""The sections of a report on how the runs went: 7 to 12."""

from __future__ import annotations

import math
from collections import Counter

from dapoctl.study.evidence import Evidence
from dapoctl.study.progress import foreign_words, states
from dapoctl.views import metrics
from dapoctl.views.markdown import code, escaped, table
from dapoctl.views.numbers import count, hours, percent
from dapoctl.views.report.audit import audit
from dapoctl.views.report.figures import CURVES
from dapoctl.views.report.responses import pass_at_k
from dapoctl.views.report.words import command, joined, mean_last
from dapoctl.views.study import figure


def curves(evidence: Evidence) -> str:
    """7. Every seed thin, the mean thick, against steps, tokens and hours."""
    there = {name for found in evidence.curves.values() for name in found.series}
    names = [name for name in CURVES if name in there]
    lines = [f"- {code(name)}: {metrics.title(name)}" for name in names]
    return (
        joined(["\n".join(lines), "![curves](curves.svg)"])
        if names
        else "No run has any of the metrics that are drawn."
    )


def generalisation(evidence: Evidence) -> str:
    """10. Training accuracy beside held-out accuracy."""
    held_out = sorted(
        {name for found in evidence.curves.values() for name in found.series if metrics.is_held_out(name)}
    )
    if not held_out:
        return "The runs have no held-out accuracy."
    rows = []
    for arm in evidence.plan.arms:
        trained = mean_last(evidence, arm, "score/accuracy")
        cells = [percent(mean_last(evidence, arm, name)) for name in held_out]
        if math.isfinite(trained):
            rows.append([code(arm), percent(trained), *cells])
    note = "Mean over seeds at the last step. With filters that sample again, training accuracy is of all responses sampled."
    return joined(["\n".join(table(["arm", "training", *(code(name) for name in held_out)], rows)), note])


def efficiency(evidence: Evidence) -> str:
    """11. The way to thresholds, with runs that did not get there."""
    reached = [found for found in evidence.outcomes if found.outcome.how == "reach"]
    parts = []
    for found in reached:
        rows = []
        for arm in evidence.plan.arms:
            if found.fitted.count(arm):
                mean = found.fitted.mean(arm)
                missed = found.censored(arm)
                rows.append(
                    [
                        code(arm),
                        figure(found.outcome, mean.value),
                        f"{missed} of {found.fitted.count(arm)}" if missed else "",
                    ]
                )
        horizon = figure(found.outcome, found.horizon)
        parts += [
            f"{escaped(found.title)}; runs that did not get there count as {horizon}, for as long as every run lasted:",
            "\n".join(table(["arm", "mean", "not reached"], rows)),
        ]
    spent = [found.tokens[-1] for found in evidence.curves.values()]
    taken = [found.hours[-1] for found in evidence.curves.values()]
    if spent:
        parts.append(
            f"All runs together generated {count(math.fsum(spent))} tokens in {hours(math.fsum(taken))} hours of training."
        )
    return joined([*parts, command(evidence)])


def failures(evidence: Evidence) -> str:
    """12. Runs that failed or were interrupted, what they were warned of, and what was left out."""
    lines = []
    counts = states(evidence.made)
    bad = {state: number for state, number in counts.items() if state != "finished"}
    lines.append("Every planned run is finished." if not bad else
                 f"Not finished: {', '.join(f'{number} {state}' for state, number in bad.items())}.")  # fmt: skip
    if words := foreign_words(evidence.made):
        lines.append(f"Not counted: {escaped(words)}.")
    for each in evidence.made:
        if each.state == "failed" and each.run is not None:
            lines.append(f"- {code(each.planned.name)} failed: {escaped(each.run.why)}")
    resumed = [run.name for run, record in evidence.records.items() if record.attempts > 1]
    lines.append(f"Resumed after an interruption: {', '.join(map(code, resumed)) or 'none'}.")
    skipped = [
        run.name
        for run, found in evidence.curves.items()
        if any(value for _, value in found.series.get("policy/skipped_updates", ()))
    ]
    lines.append(f"Updates left out since their gradient was not finite: {', '.join(map(code, skipped)) or 'none'}.")
    told = Counter((run.arm, warning) for run, record in evidence.records.items() for warning in record.warnings)
    lines += [f"- {code(arm)}, {number} runs: {escaped(warning)}" for (arm, warning), number in sorted(told.items())]
    for found in evidence.outcomes:
        left_out = Counter((run.arm, value.why) for run, value in found.values.items() if value.why)
        lines += [
            f"- {code(found.name)} leaves out {number} runs of {code(arm)}: {escaped(why)}"
            for (arm, why), number in left_out.items()
        ]
    return "\n".join(lines)


SECTIONS = (
    ("Curves", curves),
    ("pass@k", pass_at_k),
    ("Reward audit", audit),
    ("Generalisation", generalisation),
    ("Efficiency", efficiency),
    ("Failures", failures),
)
"""(title, what writes it)"""
