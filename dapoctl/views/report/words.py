"""Sentences and tables that several sections of a report use."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from dapoctl.evaluation.statistics.verdict import Word
from dapoctl.study.analysis import Effect, Outcomes
from dapoctl.study.evidence import Evidence
from dapoctl.views import columns
from dapoctl.views.markdown import code, escaped
from dapoctl.views.numbers import p_value
from dapoctl.views.study import EFFECTS, EffectLine, change, changes, verdict_words


def effect_table(found: Outcomes, kind: str) -> str:
    """The effects of a kind, as a table in Markdown; empty without any."""
    rows = [EffectLine(found, effect) for effect in found.of(kind)]
    return columns.markdown(EFFECTS, rows) if rows else ""


def sentence(found: Outcomes, effect: Effect) -> str:
    """What was found of one difference, in a sentence with its interval."""
    outcome = found.outcome
    if not math.isfinite(effect.estimate.value):
        return f"{escaped(effect.name)}: its runs do not tell."
    interval = changes(outcome, effect.estimate.interval())
    figures = f"{change(outcome, effect.estimate.value)} {interval}, p {p_value(effect.p)}"
    detects = change(outcome, effect.detects).lstrip("+")
    word = effect.verdict.word if effect.verdict is not None else Word.UNKNOWN
    against = f" against {code(effect.against)}" if effect.against not in ("off", "") else ""
    if word is Word.NOT_SEEN:
        return f"{code(effect.name)}{against}: no difference seen ({figures}; an effect of {detects} would have been)."
    return f"{code(effect.name)}{against}: {verdict_words(outcome, effect)} ({figures})."


def mean_last(evidence: Evidence, arm: str, metric: str) -> float:
    """The mean over an arm's runs of a metric's last value; not-a-number without one."""
    values = [value for run in evidence.runs_of(arm) if math.isfinite(value := evidence.last(run, metric))]
    return statistics.fmean(values) if values else math.nan


def command(evidence: Evidence, words: str = "results") -> str:
    """The command that prints a section's figures again, as a line of Markdown."""
    return f"*Again: `dapoctl study {words} {evidence.plan.path.name}`*"


def joined(parts: Sequence[str]) -> str:
    """Paragraphs with empty lines between them; empty ones are left out."""
    return "\n\n".join(part for part in parts if part)
