"""Figures of a span of steps: where rules disagree, what the reward's terms decide, and how responses drift."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dapoctl.evaluation.audit.sampled import SampledGroup, Span
from dapoctl.evaluation.statistics.intervals import Interval, share_intervals

WORDS = 4
"""Length of the sequences of words that repetition is counted in"""


@dataclass(frozen=True)
class Share:
    """A share of responses, with a 95% interval over groups."""

    value: float
    interval: Interval
    error: float
    """Standard error over groups"""


@dataclass(frozen=True)
class Disagreement:
    """A rule against the one that training used, in a span of steps."""

    right: Share
    """By this rule"""
    paid_alone: Share
    """Right by training's rule alone: paid for, and wrong by this one"""
    rule_alone: Share
    """Right by this rule alone"""


@dataclass(frozen=True)
class SpanFigures:
    """What is known of a span."""

    first: int
    last: int
    responses: int
    groups: int
    right: Share
    """By training's rule"""
    rules: Mapping[str, Disagreement]
    parts: Mapping[str, float]
    """Share of the variance of rewards within groups that is the score's and each term's; they add up to 1. Empty where no
    group has two different rewards"""
    ordered: Mapping[str, float]
    """For each rule: of pairs in a group of which one is right, the share where that one has the higher reward; a tie is
    half. Not-a-number without such pairs"""
    verdicts_ordered: float
    """The same by training's own verdicts: below a half, rewards pay for what is wrong"""
    flipped: float
    """Of pairs in a group whose scores differ, the share whose terms turn the order round or make a tie"""
    length: float
    truncated: float
    unanswered: float
    repeated: float
    """Share of sequences of four words that their response has had before"""
    distinct: float
    """Different responses of a group, as a share of all of it"""


def figures_of(span: Span, verdicts: Mapping[str, Sequence[bool]]) -> SpanFigures:
    """The figures of a span; `verdicts` has each rule's, one for each response in order."""
    groups = [group for group in span.groups if group.texts]
    paid = [np.array([response.correct for response in group.responses], float) for group in groups]
    cuts = np.cumsum([len(group.texts) for group in groups])[:-1]
    ruled = {name: np.split(np.array(flat, float), cuts) for name, flat in verdicts.items()}
    responses = [response for group in groups for response in group.responses]
    texts = [text for group in groups for text in group.texts]
    rewards = [np.array([response.reward for response in group.responses], float) for group in groups]
    return SpanFigures(
        first=span.first,
        last=span.last,
        responses=len(texts),
        groups=len(groups),
        right=_share(paid),
        rules={
            name: Disagreement(
                _share(right),
                _share([a * (1 - b) for a, b in zip(paid, right, strict=True)]),
                _share([b * (1 - a) for a, b in zip(paid, right, strict=True)]),
            )
            for name, right in ruled.items()
        },
        parts=_parts(groups),
        ordered={name: _ordered(right, rewards) for name, right in ruled.items()},
        verdicts_ordered=_ordered(paid, rewards),
        flipped=_flipped(groups, rewards),
        length=_mean([response.tokens for response in responses]),
        truncated=_mean([response.truncated for response in responses]),
        unanswered=_mean([response.outcome == "unanswered" for response in responses]),
        repeated=_mean([repetition(text) for text in texts]),
        distinct=_mean([len({*group.texts}) / len(group.texts) for group in groups]),
    )


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _share(groups: Sequence[np.ndarray]) -> Share:
    means = np.array([group.mean() for group in groups])
    if not len(means):
        return Share(math.nan, Interval(math.nan, math.nan), math.nan)
    size = round(statistics.fmean(len(group) for group in groups))
    (interval,) = share_intervals(means[:, None], [size], draws=2000)
    error = float(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else math.nan
    return Share(float(means.mean()), interval, error)


def _parts(groups: Sequence[SampledGroup]) -> dict[str, float]:
    """Cov(part, reward) / Var(reward) within groups, for the score and each term."""
    names = sorted({name for group in groups for response in group.responses for name in response.terms})
    covariances = dict.fromkeys(("score", *names), 0.0)
    variance = 0.0
    for group in groups:
        parts = {"score": [response.score for response in group.responses]}
        parts |= {name: [response.terms.get(name, 0.0) for response in group.responses] for name in names}
        centred = {name: np.array(values) - np.mean(values) for name, values in parts.items()}
        total = np.sum([*centred.values()], axis=0)
        if not np.isfinite(total).all():
            continue
        variance += float(total @ total)
        for name, values in centred.items():
            covariances[name] += float(values @ total)
    return {name: value / variance for name, value in covariances.items()} if variance > 0 else {}


def _ordered(right: Sequence[np.ndarray], rewards: Sequence[np.ndarray]) -> float:
    won = pairs = 0.0
    for is_right, reward in zip(right, rewards, strict=True):
        difference = reward[is_right == 1][:, None] - reward[is_right == 0][None, :]
        won += float((difference > 0).sum() + (difference == 0).sum() / 2)
        pairs += difference.size
    return won / pairs if pairs else math.nan


def _flipped(groups: Sequence[SampledGroup], rewards: Sequence[np.ndarray]) -> float:
    flipped = pairs = 0.0
    for group, reward in zip(groups, rewards, strict=True):
        score = np.array([response.score for response in group.responses])
        by_score, by_reward = np.sign(score[:, None] - score), np.sign(reward[:, None] - reward)
        flipped += float(((by_score > 0) & (by_reward <= 0)).sum())
        pairs += float((by_score > 0).sum())
    return flipped / pairs if pairs else math.nan


def repetition(text: str) -> float:
    """Of the text's sequences of four words, the share that it has had before; 0 for fewer than five words."""
    words = text.split()
    sequences = [*zip(*(words[offset:] for offset in range(WORDS)), strict=False)]
    return 1 - len({*sequences}) / len(sequences) if len(sequences) > 1 else 0.0
