"""The section of a report on what the reward paid for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from dapoctl.study.evidence import LAST_STEPS, MOST_RESPONSES, Evidence
from dapoctl.views.markdown import code, escaped, table
from dapoctl.views.numbers import number, percent
from dapoctl.views.report.words import joined, mean_last
from dapoctl.views.study import change, changes


def audit(evidence: Evidence) -> str:
    """9. Other rules beside the reward's, what decides rewards, the reward's terms, and placebos."""
    return joined([*_placebos(evidence), *_rules(evidence), *_parts(evidence), _terms(evidence)])


def _placebos(evidence: Evidence) -> Iterator[str]:
    names = [name for name, arm in evidence.plan.arms.items() if arm.placebo]
    for found in evidence.primary:
        for effect in found.effects:
            if effect.name in names and math.isfinite(effect.estimate.value):
                gained = effect.estimate.interval().low > 0
                word = "**gained, which a placebo must not**" if gained else "did not gain"
                shown = f"{change(found.outcome, effect.estimate.value)} {changes(found.outcome, effect.estimate.interval())}"
                yield f"The placebo {code(effect.name)} {word} on {escaped(found.title)} ({shown})."


def _rules(evidence: Evidence) -> Iterator[str]:
    names = [*dict.fromkeys(name for found in evidence.audits.values() for name in found.rules)]
    if not names:
        yield "No responses of the training are stored, so no other rule judged them."
        return
    rows = []
    for arm in evidence.plan.arms:
        figures = [evidence.audits[run] for run in evidence.runs_of(arm) if run in evidence.audits]
        if figures:
            paid = [[span.rules[name].paid_alone.value for span in figures if name in span.rules] for name in names]
            columns = [[span.right.value for span in figures], *paid, [span.verdicts_ordered for span in figures]]
            rows.append([code(arm), *map(_mean, columns)])
    headers = ["arm", "right", *(f"right, wrong by {code(name)}" for name in names), "right one paid more"]
    yield (
        f"Responses of the last {LAST_STEPS} steps, at most {MOST_RESPONSES} of a run, judged by other rules than the verdict"
        " of training; means over seeds. The last column: of two responses in a group of which one is right, how often that"
        " one has the higher reward; a half is chance."
    )
    yield "\n".join(table(headers, rows))
    yield "*Again, by step, for a run: `dapoctl audit RUN`*"


def _parts(evidence: Evidence) -> Iterator[str]:
    names = [*dict.fromkeys(name for found in evidence.audits.values() for name in found.parts)]
    if len(names) < 2:
        return
    rows = []
    for arm in evidence.plan.arms:
        figures = [evidence.audits[run] for run in evidence.runs_of(arm) if run in evidence.audits]
        figures = [each for each in figures if each.parts]
        if figures:
            rows.append([code(arm), *(_mean([span.parts.get(name, 0.0) for span in figures]) for name in names)])
    yield "What decides the rewards within a group, as shares of their variance in the same steps:"
    yield "\n".join(table(["arm", *(code(name) for name in names)], rows))


def _terms(evidence: Evidence) -> str:
    names = sorted({name for found in evidence.curves.values() for name in found.series if name.startswith("reward/")})
    rows = [
        [code(arm), *(_shown(mean_last(evidence, arm, name)) for name in names)]
        for arm in evidence.plan.arms if evidence.runs_of(arm)
    ]  # fmt: skip
    return joined(["Rewards and their terms at the last step:", "\n".join(table(["arm", *map(code, names)], rows))])


def _mean(values: list[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    return percent(statistics.fmean(known)) if known else ""


def _shown(value: float) -> str:
    return number(value) if math.isfinite(value) else ""
