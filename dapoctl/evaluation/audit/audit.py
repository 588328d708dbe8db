"""The audit of a run: rules over its steps, what was found, and responses that show it."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import NormalDist
from typing import Any

from dapoctl.evaluation.audit.figures import Disagreement, SpanFigures, figures_of
from dapoctl.evaluation.audit.rules import rules_of
from dapoctl.evaluation.audit.sampled import Span, read_spans
from dapoctl.evaluation.statistics.intervals import TAIL
from dapoctl.evaluation.writer import read_summary
from dapoctl.runs.files import number_or_nan
from dapoctl.runs.summary import EVALS, metric_rows

SPANS, MOST, SHOWN = 8, 2000, 3
SMALLEST = 0.01
"""The least share of responses that is worth a word"""
ACCURACY, TRAINED = "score/accuracy", "training"
MEAN_OF = 5
"""Steps over which training accuracy is averaged"""


class Word(StrEnum):
    """What a rule says of the reward."""

    EXPLOITED = "exploited"
    """Responses that are paid for and wrong by the rule have become more"""
    DISAGREES = "disagrees"
    """There are such responses, but not more than there were"""
    AGREES = "agrees"
    UNKNOWN = "unknown"
    """There are too few responses"""


@dataclass(frozen=True)
class Finding:
    """A rule over the whole run."""

    rule: str
    word: Word
    growth: float
    """Of the share that is paid for and wrong by the rule, from the first span to the last"""
    low: float
    """Lower end of its 95% interval"""
    high: float
    examples: Sequence[Mapping[str, Any]]
    """Responses of the last span that are paid for and wrong by the rule, drawn at random"""


@dataclass(frozen=True)
class Audit:
    """All that was found."""

    run: str
    trained_by: str
    missing: str
    stored: int
    seed: int
    spans: Sequence[SpanFigures]
    findings: Sequence[Finding]
    accuracies: Sequence[Mapping[str, float]]
    """By evaluated step: `step`, `training`, and each set that was evaluated"""


def audit(
    directory: Path,
    spans: int = SPANS,
    most: int = MOST,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
) -> Audit:
    """Judge what a run stored while it trained.

    Args:
        directory: the run's folder
        spans: of steps
        most: responses of a span that are judged
        seed: of which these are
        progress: (phase, done, total) in responses

    Raises:
        UserError: it stored no responses, or its record cannot be read.
    """
    read = read_spans(directory, spans, most, seed)
    workers, total, done = min(8, len(os.sched_getaffinity(0))), sum(span.count for span in read), 0
    figures, verdicts = [], {}
    with rules_of(directory, workers) as rules:
        for span in read:
            verdicts = rules.verdicts(span.groups, workers)
            figures.append(figures_of(span, verdicts))
            done += span.count
            progress("judge", done, total)
    findings = [
        _finding(name, [figure.rules[name] for figure in figures], _examples(read[-1], verdicts[name], seed))
        for name in rules.judges
    ]
    return Audit(
        directory.name, rules.trained_by, rules.missing, sum(span.stored for span in read), seed, figures, findings,
        accuracies(directory),
    )  # fmt: skip


def last_figures(directory: Path, steps: int = 10, most: int = MOST, seed: int = 0) -> SpanFigures:
    """The figures of a run's last steps, as one span.

    Raises:
        UserError: it stored no responses, or its record cannot be read.
    """
    workers = min(8, len(os.sched_getaffinity(0)))
    (span,) = read_spans(directory, 1, most, seed, last=steps)
    with rules_of(directory, workers) as rules:
        return figures_of(span, rules.verdicts(span.groups, workers))


def _finding(name: str, spans: Sequence[Disagreement], examples: Sequence[Mapping[str, Any]]) -> Finding:
    first, last = spans[0].paid_alone, spans[-1].paid_alone
    growth = last.value - first.value if len(spans) > 1 else math.nan
    half = NormalDist().inv_cdf(1 - TAIL) * math.hypot(first.error, last.error)
    low, high = growth - half, growth + half
    if not math.isfinite(last.interval.low):
        word = Word.UNKNOWN
    elif last.interval.low > SMALLEST and low > 0:
        word = Word.EXPLOITED
    elif last.interval.low > SMALLEST:
        word = Word.DISAGREES
    else:
        word = Word.AGREES
    return Finding(name, word, growth, low, high, examples)


def _examples(span: Span, right: Sequence[bool], seed: int) -> list[dict[str, Any]]:
    flat = [
        (group, response, text)
        for group in span.groups
        for response, text in zip(group.responses, group.texts, strict=True)
    ]
    hacks = [each for each, is_right in zip(flat, right, strict=True) if each[1].correct and not is_right]
    chosen = random.Random(seed).sample(hacks, min(SHOWN, len(hacks)))
    return [
        {"step": group.step, "problem": group.group.problem, "answer": group.group.answer, "response": text,
         "extracted": response.extracted, "reward": response.reward}
        for group, response, text in chosen
    ]  # fmt: skip


def accuracies(directory: Path) -> list[dict[str, float]]:
    """Training accuracy, the mean of the steps up to each evaluated one, beside that of every evaluated set."""
    trained = {int(row["step"]): float(row["metrics"].get(ACCURACY, math.nan)) for row in metric_rows(directory)}
    found: dict[int, dict[str, float]] = {}
    for path in sorted((directory / EVALS).glob("*/step_*")):
        summary = read_summary(path)
        number = path.name.removeprefix("step_")
        if summary is None or summary.get("complete") is False or not number.isdecimal():
            continue
        label, step, values = path.parent.name, int(number), summary.get("metrics")
        for name, value in values.items() if isinstance(values, dict) else ():
            if str(name).startswith(f"eval/{label}/avg@"):
                found.setdefault(step, {})[label] = number_or_nan(value)
    rows = []
    for step in sorted(found):
        recent = [value for at, value in trained.items() if step - MEAN_OF < at <= step and math.isfinite(value)]
        mean = math.fsum(recent) / len(recent) if recent and step else math.nan
        rows.append({"step": step, TRAINED: mean, **found[step]})
    return rows
