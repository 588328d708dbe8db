"""Metrics of a model from k responses to each problem of a set.

Only problems with all k responses count. Which responses of an unfinished problem exist already depends on their length, so
they are a biased sample, and a missing response is not a wrong one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dapoctl.evaluation.statistics.intervals import Interval, avg_noise_interval, bootstrap_intervals, share_intervals
from dapoctl.evaluation.statistics.votes import vote_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTH = "length_mean"
RIGHT = object()
"""The vote of every right response"""


@dataclass(frozen=True)
class ProblemScore:
    """The outcome of k responses to one problem; all fields but the first two are means over the responses."""

    right: int
    """c of k"""
    majority: float
    """1 if the right answer has the most votes, its share in a tie, else 0"""
    tokens: float
    truncated: float
    unanswered: float
    format_failure: float
    """Unanswered but not truncated: there is no answer, or none in a form that the scorer reads"""
    error: float
    timeout: float
    unmarked: float = math.nan
    """No mark says which part is the answer (no label, no box); not a number where the task does not say"""


@dataclass(frozen=True)
class Figure:
    """A metric with its 95% interval over problems."""

    value: float
    interval: Interval


def summarize(rows: Iterable[Mapping[str, Any]], k: int) -> dict[str, float]:
    """Metrics by name from an evaluation's rows; empty if no problem has `k` responses.

    `avg@k`, `pass@j` for j = 1, 2, 4, ... and k, `maj@k`, `length_mean` (tokens) and fractions of responses, as in
    `figures`. `avg@k`, `pass@k` and `maj@k` have `/low` and `/high`, the interval over problems; `avg@k` also has
    `/noise_low` and `/noise_high`, sampling noise only.
    """
    scores = list(score_problems(rows, k).values())
    if not scores:
        return {}
    by_name = figures(scores, k)
    values = {name: figure.value for name, figure in by_name.items()}
    for name in (f"avg@{k}", f"pass@{k}", f"maj@{k}"):
        values |= _ends(name, by_name[name].interval)
    return values | _ends(f"avg@{k}", avg_noise_interval(right_counts(scores), k), "noise_")


def _ends(name: str, interval: Interval, prefix: str = "") -> dict[str, float]:
    ends = {f"{name}/{prefix}low": interval.low, f"{name}/{prefix}high": interval.high}
    return {key: value for key, value in ends.items() if math.isfinite(value)}


def score_problems(rows: Iterable[Mapping[str, Any]], k: int) -> dict[str, ProblemScore]:
    """Scores of the problems with at least `k` responses, by id, sorted; only the first k by sample number count.

    If a problem and sample occur twice, the first row counts.
    """
    groups: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row["problem"]), {}).setdefault(int(row["sample"]), row)
    full = {name: [group[sample] for sample in sorted(group)[:k]] for name, group in groups.items() if len(group) >= k}
    return {name: _score(full[name]) for name in sorted(full)}


def _score(rows: Sequence[Mapping[str, Any]]) -> ProblemScore:
    def share(outcome: str) -> float:
        return sum(1.0 for row in rows if row.get("outcome") == outcome) / len(rows)

    return ProblemScore(
        right=sum(bool(row["correct"]) for row in rows),
        majority=majority(rows),
        tokens=sum(float(row.get("tokens", math.nan)) for row in rows) / len(rows),
        truncated=sum(bool(row.get("truncated")) for row in rows) / len(rows),
        unanswered=share("unanswered"),
        format_failure=sum(row.get("outcome") == "unanswered" and not row.get("truncated") for row in rows) / len(rows),
        error=share("error"),
        timeout=share("timeout"),
        unmarked=sum(math.nan if (marked := row.get("marked")) is None else not marked for row in rows) / len(rows),
    )


def majority(rows: Sequence[Mapping[str, Any]]) -> float:
    """maj@k of one problem (self-consistency; Wang et al. 2022, arXiv:2203.11171): 1 if most answers are right.

    A response without an extracted answer has no vote; without votes the result is 0. All right responses vote for the same
    answer; wrong ones agree if they give the same number (`033` and `33`, `1/2` and `0.5`) or the same text, see `vote_of`.
    In a tie of m answers each counts 1/m. Wrong answers that are equal only by algebra are several votes, so that maj@k
    may come out a little high away from plain numbers.
    """
    votes: Counter[object] = Counter(vote for row in rows if (vote := _vote(row)) is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    tied = sum(count == most for count in votes.values())
    return 1 / tied if votes[RIGHT] == most else 0.0


def _vote(row: Mapping[str, Any]) -> object:
    if row["correct"]:
        return RIGHT
    text = row.get("extracted")
    if text is None or row.get("outcome") == "unanswered":
        return None
    return vote_of(str(text))


def pass_at(right: NDArray[np.int64], k: int, j: int) -> NDArray[np.float64]:
    """pass@j of each problem from its `right` responses of `k`: the share of sets of j responses with a right one.

    1 - C(k-c, j) / C(k, j), unbiased for j <= k (Chen et al. 2021, arXiv:2107.03374, equation 1), computed as a product of
    (k-c-i) / (k-i) so that nothing overflows.

    Raises:
        ValueError: j is not from 1 to k.
    """
    if not 1 <= j <= k:
        raise ValueError(f"pass@{j} needs 1 <= j <= k = {k}")
    drawn = np.arange(j)
    wrong = np.maximum(k - right[:, None] - drawn, 0)
    result: NDArray[np.float64] = 1 - np.prod(wrong / (k - drawn), axis=1)
    return result


def powers(k: int) -> list[int]:
    """1, 2, 4, ... below k, and k: the values of j for which pass@j is shown."""
    return [*(2**exponent for exponent in range(k.bit_length()) if 2**exponent < k), k]


def right_counts(scores: Sequence[ProblemScore]) -> NDArray[np.int64]:
    """The number of right responses to each problem [problems]."""
    return np.array([score.right for score in scores], dtype=np.int64)


def columns(scores: Sequence[ProblemScore], k: int) -> dict[str, NDArray[np.float64]]:
    """Each metric's value for every problem; a metric is the mean of its column."""
    right = right_counts(scores)

    def column(name: str) -> NDArray[np.float64]:
        return np.array([getattr(score, name) for score in scores], dtype=np.float64)

    unmarked = column("unmarked")
    return {
        f"avg@{k}": right / k,
        **{f"pass@{j}": pass_at(right, k, j) for j in powers(k)},
        f"maj@{k}": column("majority"),
        LENGTH: column("tokens"),
        "truncated_fraction": column("truncated"),
        "unanswered_fraction": column("unanswered"),
        "format_failure_fraction": column("format_failure"),
        "error_fraction": column("error"),
        "timeout_fraction": column("timeout"),
        **({} if np.isnan(unmarked).any() else {"unmarked_fraction": unmarked}),
    }


def figures(scores: Sequence[ProblemScore], k: int, seed: int = 0) -> dict[str, Figure]:
    """Every metric with its 95% interval over problems."""
    by_metric = columns(scores, k)
    shares = {name: values for name, values in by_metric.items() if name != LENGTH}
    intervals = share_intervals(np.stack([*shares.values()], axis=1), [_responses(name, k) for name in shares], seed)
    by_name = dict(zip(shares, intervals, strict=True))
    by_name[LENGTH] = bootstrap_intervals(by_metric[LENGTH][:, None], seed)[0]
    return {name: Figure(float(values.mean()), by_name[name]) for name, values in by_metric.items()}


def _responses(name: str, k: int) -> int:
    """How many responses a problem's share is of: pass@j has k-j+1 values above 0, maj@k is all but yes or no."""
    kind, _, j = name.partition("@")
    return k - int(j) + 1 if kind == "pass" else 1 if kind == "maj" else k
