"""What the k responses to each problem of a set say of a model.

Only problems with all k responses count. Which responses of an unfinished problem are there already depends on their length,
so they are no fair sample of it, and one that is missing is not wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dapoctl.evaluation.statistics.intervals import Interval, all_drawn_anew, on_these_problems, share_drawn_anew
from dapoctl.tasks.answers import integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

RIGHT = object()
"""The vote of every right response"""


@dataclass(frozen=True)
class ProblemScore:
    """What k responses to one problem came to; all but the first two are means over them."""

    right: int
    """c of k"""
    majority: float
    """1 where most answers are the right one, its share of a tie, else 0"""
    tokens: float
    truncated: float
    unanswered: float
    format_failure: float
    """Unanswered though it ended by itself: an answer was given in no form that the scorer reads, or none"""
    error: float
    timeout: float


@dataclass(frozen=True)
class Figure:
    """A metric with its 95% interval for problems drawn anew."""

    value: float
    interval: Interval


def summarize(rows: Iterable[Mapping[str, Any]], k: int) -> dict[str, float]:
    """Metrics by name from an evaluation's rows; empty when no problem has `k` responses.

    `avg@k`, `pass@j` for j = 1, 2, 4, ... and k, `maj@k`, `length_mean` (tokens) and fractions of responses, as `figures`
    has them. `avg@k`, `pass@k` and `maj@k` come with `/low` and `/high`, for problems drawn anew, and `avg@k` with
    `/noise_low` and `/noise_high`, for these problems and other responses.
    """
    scores = list(score_problems(rows, k).values())
    if not scores:
        return {}
    found = figures(scores, k)
    values = {name: figure.value for name, figure in found.items()}
    for name in (f"avg@{k}", f"pass@{k}", f"maj@{k}"):
        values |= _ends(name, found[name].interval)
    return values | _ends(f"avg@{k}", on_these_problems(rights(scores), k), "noise_")


def _ends(name: str, interval: Interval, what: str = "") -> dict[str, float]:
    ends = {f"{name}/{what}low": interval.low, f"{name}/{what}high": interval.high}
    return {key: value for key, value in ends.items() if math.isfinite(value)}


def score_problems(rows: Iterable[Mapping[str, Any]], k: int) -> dict[str, ProblemScore]:
    """The problems that have `k` responses or more, by id, sorted; of more, the first k by number count.

    Of two rows for the same problem and sample the first counts.
    """
    groups: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row["problem"]), {}).setdefault(int(row["sample"]), row)
    full = {name: [group[place] for place in sorted(group)[:k]] for name, group in groups.items() if len(group) >= k}
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
    )


def majority(rows: Sequence[Mapping[str, Any]]) -> float:
    """maj@k of one problem (self-consistency; Wang et al. 2022, arXiv:2203.11171): 1 where most answers are right.

    A response without an extracted answer is no vote, and no votes are 0. Right responses vote alike however they write it,
    wrong ones when they give the same integer (`033`, `33`) or the same text. Of m answers that tie, each wins 1/m.
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
    return integer(str(text)) or " ".join(str(text).split())


def pass_at(right: NDArray[np.int64], k: int, j: int) -> NDArray[np.float64]:
    """pass@j of each problem from its `right` responses of `k`: the share of sets of j responses with a right one.

    1 - C(k-c, j) / C(k, j), which has no bias for j <= k (Chen et al. 2021, arXiv:2107.03374, equation 1), as a product of
    k-c-i over k-i, so that nothing overflows.

    Raises:
        ValueError: j is not from 1 to k.
    """
    if not 1 <= j <= k:
        raise ValueError(f"pass@{j} needs 1 <= j <= k = {k}")
    places = np.arange(j)
    wrong = np.maximum(k - right[:, None] - places, 0)
    result: NDArray[np.float64] = 1 - np.prod(wrong / (k - places), axis=1)
    return result


def powers(k: int) -> list[int]:
    """1, 2, 4, ... below k, and k: the j of pass@j that are shown."""
    return [*(2**exponent for exponent in range(k.bit_length()) if 2**exponent < k), k]


def rights(scores: Sequence[ProblemScore]) -> NDArray[np.int64]:
    """How many responses to each problem are right."""
    return np.array([score.right for score in scores], dtype=np.int64)


def columns(scores: Sequence[ProblemScore], k: int) -> dict[str, NDArray[np.float64]]:
    """Each metric's value for every problem; a metric is the mean of its column."""
    right = rights(scores)

    def each(name: str) -> NDArray[np.float64]:
        return np.array([getattr(score, name) for score in scores], dtype=np.float64)

    return {
        f"avg@{k}": right / k,
        **{f"pass@{j}": pass_at(right, k, j) for j in powers(k)},
        f"maj@{k}": each("majority"),
        "length_mean": each("tokens"),
        "truncated_fraction": each("truncated"),
        "unanswered_fraction": each("unanswered"),
        "format_failure_fraction": each("format_failure"),
        "error_fraction": each("error"),
        "timeout_fraction": each("timeout"),
    }


def figures(scores: Sequence[ProblemScore], k: int, seed: int = 0) -> dict[str, Figure]:
    """Every metric with its 95% interval for problems drawn anew."""
    found = columns(scores, k)
    intervals = all_drawn_anew(np.stack([*found.values()], axis=1), seed)
    return {
        name: Figure(float(values.mean()), interval if name == "length_mean" else share_drawn_anew(values, interval))
        for (name, values), interval in zip(found.items(), intervals, strict=True)
    }
