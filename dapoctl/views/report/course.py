"""The sections of a report on how the runs went: 7 to 12."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter

from dapoctl.study.evidence import Evidence
from dapoctl.study.progress import foreign_words, states
from dapoctl.views import metrics
from dapoctl.views.markdown import code, escaped, table
from dapoctl.views.numbers import count, hours, number, percent
from dapoctl.views.report.figures import CURVES
from dapoctl.views.report.words import command, joined, mean_last
from dapoctl.views.study import figure

PASS = re.compile(r"eval/(?P<set>.+)/pass@(?P<k>\d+)")
SHOWN = 12


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


def pass_at_k(evidence: Evidence) -> str:
    """8. pass@k before and after, by arm."""
    names = sorted(
        {name for found in evidence.curves.values() for name in found.series if PASS.fullmatch(name)}, key=_by_k
    )
    if not names:
        return "`eval.k` = 1: there is no pass@k beyond avg@1."
    rows = []
    for arm in evidence.plan.arms:
        runs = evidence.runs_of(arm)
        cells = []
        for name in names:
            before = [
                value
                for run in runs
                if (points := evidence.curves[run].series.get(name)) and math.isfinite(value := points[0][1])
            ]
            after = mean_last(evidence, arm, name)
            cells.append(f"{percent(statistics.fmean(before))} → {percent(after)}" if before else "")
        rows.append([code(arm), *cells])
    note = (
        "Means over seeds, before training and at the last evaluation. Where pass@k does not rise with avg@k, training"
    )
    return joined(
        [
            "\n".join(table(["arm", *(code(name) for name in names)], rows)),
            f"{note} sharpened what the model could do already.",
        ]
    )


def _by_k(name: str) -> tuple[str, int]:
    found = PASS.fullmatch(name)
    assert found is not None
    return found["set"], int(found["k"])


def audit(evidence: Evidence) -> str:
    """9. What the reward paid for: its terms, and placebos."""
    names = sorted({name for found in evidence.curves.values() for name in found.series if name.startswith("reward/")})
    rows = [
        [code(arm), *(_shown(mean_last(evidence, arm, name)) for name in names)]
        for arm in evidence.plan.arms if evidence.runs_of(arm)
    ]  # fmt: skip
    parts = ["\n".join(table(["arm", *(code(name) for name in names)], rows))]
    placebos = [name for name, arm in evidence.plan.arms.items() if arm.placebo]
    for found in evidence.primary:
        for effect in found.effects:
            if effect.name in placebos:
                gained = effect.estimate.interval().low > 0
                word = "**gained, which a placebo must not**" if gained else "did not gain"
                parts.append(f"The placebo {code(effect.name)} {word} on {escaped(found.title)}.")
    parts.append("Last step, mean over seeds. Stored responses can be judged by other rules: `dapoctl rescore`.")
    return joined(parts)


def _shown(value: float) -> str:
    return number(value) if math.isfinite(value) else ""


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
