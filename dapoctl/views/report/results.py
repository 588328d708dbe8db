"""The sections of a report on what was asked and what was found: 1 to 6."""

from __future__ import annotations

import math
import time

from dapoctl.evaluation.statistics.verdict import Word
from dapoctl.study.analysis import ARM, INTERACTION, LADDER, LEAVE_OUT, MAIN
from dapoctl.study.evidence import Evidence
from dapoctl.study.progress import states
from dapoctl.views import columns
from dapoctl.views.markdown import code, escaped, table
from dapoctl.views.numbers import count, hours, number
from dapoctl.views.probe import sentences
from dapoctl.views.report.dials import dials
from dapoctl.views.report.words import command, effect_table, joined, mean_last, sentence
from dapoctl.views.study import ARMS, ValueLine, arm_lines, change, changes, figure, verdict_words, way

DAY = "%Y-%m-%d %H:%M"


def answer(evidence: Evidence) -> str:
    """1. The question, and what can and cannot be said."""
    study = evidence.plan.study.study
    parts = [escaped(study.question)]
    for found in evidence.primary:
        parts.append(f"**{escaped(found.title)}** ({way(found.outcome)}):")
        tested = [effect for effect in found.effects if effect.verdict is not None]
        parts.append("\n".join(f"- {sentence(found, effect)}" for effect in tested))
    cannot = [
        "Intervals are about other training seeds with the same problems and settings, not about other problems, models or"
        " learning rates.",
        "Effects of outcomes that are not primary are corrected among themselves only.",
    ]
    unseen = sum(
        effect.verdict.word is Word.NOT_SEEN for found in evidence.primary for effect in found.effects if effect.verdict
    )
    if unseen:
        cannot.append(f"Of {unseen} differences nothing was seen, which does not say that there is none.")
    return joined([*parts, "What cannot be said:", "\n".join(f"- {line}" for line in cannot), command(evidence)])


def design(evidence: Evidence) -> str:
    """2. Arms, factors, outcomes, and the plan with its changes."""
    plan, frozen = evidence.plan, evidence.frozen
    counts = ", ".join(f"{number} {state}" for state, number in states(evidence.made).items())
    parts = [f"{len(plan.runs)} runs of {len(plan.arms)} arms ({counts}), in the group {code(plan.group)}."]
    if frozen is None:
        parts.append("The plan was not frozen: these runs were made before `dapoctl study run` wrote it down.")
    else:
        when = time.strftime(DAY, time.gmtime(frozen["frozen"]["time"]))
        parts.append(f"The plan was frozen on {when} UTC with SHA-256 {code(frozen['frozen']['digest'])}.")
        parts += [_changed(moment, keys) for moment, keys in evidence.changes] or ["It was not changed since."]
    rows = [
        [code(name), escaped(outcome.metric), way(outcome), outcome.role, outcome.better,
         change(outcome, outcome.smallest).lstrip("+") if outcome.smallest else ""]
        for name, outcome in plan.study.outcome.items()
    ]  # fmt: skip
    parts.append("\n".join(table(["outcome", "metric", "how", "role", "better", "smallest worth knowing"], rows)))
    parts.append(columns.markdown(ARMS, arm_lines(plan, evidence.made, dict(evidence.hours))))
    return joined([*parts, command(evidence, "status")])


def _changed(moment: float, keys: list[str]) -> str:
    shown = ", ".join(code(key) for key in keys[:12]) + (f" and {len(keys) - 12} more" if len(keys) > 12 else "")
    return f"Changed on {time.strftime(DAY, time.gmtime(moment))} UTC: {shown}."


def baseline(evidence: Evidence) -> str:
    """3. The model before training, as the runs themselves measured it."""
    metrics = sorted({found.outcome.metric for found in evidence.outcomes if found.outcome.metric.startswith("eval/")})
    rows = []
    for metric in metrics:
        values = {
            curves.series[metric][0][1]
            for curves in evidence.curves.values()
            if curves.series.get(metric, [(1, 0)])[0][0] == 0
        }
        if values:
            outcome = next(found.outcome for found in evidence.outcomes if found.outcome.metric == metric)
            shown = " to ".join(dict.fromkeys(figure(outcome, value) for value in (min(values), max(values))))
            rows.append([code(metric), shown, str(len(values))])
    if not rows:
        return "No outcome was measured before training."
    note = "The spread over runs is that of sampling alone: the model is the same."
    return joined(["\n".join(table(["metric", "before training", "different values"], rows)), note, _probed(evidence)])


def _probed(evidence: Evidence) -> str:
    """Whether the model knew the questions before."""
    again = f"`dapoctl study probe {evidence.plan.path.name}`"
    if not evidence.probes:
        return f"Whether the model knew the questions by heart was not asked: {again} does."
    lines = [f"- {code(model)} on {code(name)}: {escaped(words)}." for model, name, words in sentences(evidence.probes)]
    return "\n".join(["Does the model know the questions by heart?", "", *lines, "", f"*Again: {again}*"])


def main_table(evidence: Evidence) -> str:
    """4. Every arm: effect on the first primary outcome, cost and length."""
    found = evidence.primary[0]
    effects = {effect.name: effect for effect in found.of(ARM)}
    headers = ["arm", "runs", found.title, "against its baseline [95%]", "verdict", "tokens", "hours", "length"]
    rows = []
    for name in evidence.plan.arms:
        effect = effects.get(name)
        spent = [curves for run, curves in evidence.curves.items() if run.arm == name]
        tokens = [curves.tokens[-1] for curves in spent]
        taken = [curves.hours[-1] for curves in spent]
        shown = (
            ""
            if effect is None
            else f"{change(found.outcome, effect.estimate.value)} {changes(found.outcome, effect.estimate.interval())}"
        )
        rows.append([
            code(name), f"{len(spent)} of {len(evidence.plan.seeds(name))}",
            figure(found.outcome, found.fitted.mean(name).value),
            shown, "" if effect is None else verdict_words(found.outcome, effect),
            count(sum(tokens) / len(tokens) if tokens else math.nan), hours(sum(taken) / len(taken) if taken else math.nan),
            number(mean_last(evidence, name, "response/length_mean")),
        ])  # fmt: skip
    return joined(["\n".join(table(headers, rows, left=(0, 4))), "![effects of arms](forest.svg)", command(evidence)])


def factorial(evidence: Evidence) -> str:
    """5. Main effects, interactions, the ladder and leave-one-out, from the same cells."""
    if not evidence.plan.study.design.factorial:
        return "The study has no factorial."
    parts: list[str] = []
    for found in evidence.outcomes:
        parts.append(f"#### {escaped(found.title)} ({found.outcome.role})")
        for kind in (MAIN, INTERACTION, LADDER, LEAVE_OUT):
            shown = effect_table(found, kind)
            parts += [f"{kind.capitalize()}:", shown] if shown and (kind is MAIN or found in evidence.primary) else []
    parts.append("Interactions, ladder and leave-one-out describe the same cells again: they are not tested.")
    return joined([*parts, "![main effects](factorial.svg)", command(evidence)])


def dial_section(evidence: Evidence) -> str:
    """6. Arms that differ in one number."""
    found = evidence.primary[0]
    parts = []
    for dial in dials(evidence.plan):
        rows = []
        for value, arm in dial.arms:
            rows.append([f"{value:g}", code(arm), ValueLine(found, arm).text()])
        parts += [f"{code(dial.key)}:", "\n".join(table([dial.key, "arm", found.title], rows))]
    return joined([*parts, command(evidence)]) if parts else "No arms differ in one number alone."


SECTIONS = (
    ("Question and answer", answer),
    ("Design", design),
    ("Before training", baseline),
    ("Arms", main_table),
    ("Factorial", factorial),
    ("Dials", dial_section),
)
"""(title, what writes it)"""
