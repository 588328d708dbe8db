"""95% intervals of means over problems.

An interval answers one of two questions. *Problems drawn anew*: what would another set of problems like these show? Problems
are resampled, each with all of its responses (a cluster bootstrap). *These problems*: what would other responses to the same
problems show? Only the noise of sampling counts. The first is as a rule the wider one, and the one to report. Where few
problems are ever solved it is somewhat too narrow: it covers 90 to 94% for 30 problems with a mean of 0.06 to 0.09.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
DRAWS = 10_000
"""Bootstrap resamples: the ends of an interval then move by about a hundredth of its width from seed to seed"""
BLOCK = 4_000_000
"""Random numbers that exist at once"""


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with a confidence of 95%; not-a-number where the data cannot tell."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


def drawn_anew(values: NDArray[np.float64], seed: int = 0, draws: int = DRAWS) -> Interval:
    """Of the mean over problems, for problems drawn anew; see `all_drawn_anew`."""
    return all_drawn_anew(values[:, None], seed, draws)[0]


def all_drawn_anew(values: NDArray[np.float64], seed: int = 0, draws: int = DRAWS) -> list[Interval]:
    """Of the mean of each column of `values` [problems, figures], for problems drawn anew; the same seed gives the same.

    A cluster bootstrap over problems with the expanded percentiles of Hesterberg (2015, "What teachers should know about the
    bootstrap", section 5.3): plain percentiles are too narrow by sqrt((n-1)/n) and by the difference between the normal and
    Student's t. Unknown for fewer than two problems.
    """
    count = len(values)
    if count < 2:
        return [UNKNOWN] * values.shape[1]
    means = np.concatenate([weights @ values / count for weights in _resamples(count, draws, seed)])
    tail = NormalDist().cdf(-math.sqrt(count / (count - 1)) * student_quantile(1 - TAIL, count - 1))
    ends = np.quantile(means, [tail, 1 - tail], axis=0)
    return [Interval(float(low), float(high)) for low, high in ends.T]


def _resamples(count: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of `count` problems is in each resample, [some draws, count] at a time."""
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK // count)
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        chosen = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def share_drawn_anew(values: NDArray[np.float64], interval: Interval) -> Interval:
    """`interval` of a mean of shares, or what can be said where every share is 0 or every one is 1.

    Resampling the same value shows nothing. Of all distributions on [0, 1] with mean m, all of n draws are 0 with a
    probability of at most (1-m)^n, which bounds m as Clopper and Pearson do for n yes-or-no trials.
    """
    if len(values) == 0 or not (np.all(values == values[0]) and values[0] in (0.0, 1.0)):
        return interval
    return _one_sided(len(values), bool(values[0]))


def _one_sided(trials: int, right: bool) -> Interval:
    bound: float = 1 - TAIL ** (1 / trials)
    return Interval(1 - bound, 1.0) if right else Interval(0.0, bound)


def difference_drawn_anew(differences: NDArray[np.float64], seed: int = 0, draws: int = DRAWS) -> Interval:
    """Of the mean of paired differences of shares, for problems drawn anew.

    Where no problem differs the bound is that of `share_drawn_anew`, on both sides: a mean of m needs a share of at least
    |m| of problems that differ.
    """
    if len(differences) > 1 and not differences.any():
        high = _one_sided(len(differences), right=False).high
        return Interval(-high, high)
    return drawn_anew(differences, seed, draws)


def on_these_problems(right: NDArray[np.int64], k: int) -> Interval:
    """Of avg@k on exactly these problems, from the numbers of right responses [problems], each of `k`; unknown at k = 1.

    The closed form of resampling within each problem: a problem's share has variance p(1-p)/k, which c(k-c) / (k^2 (k-1))
    estimates without bias; the mean over problems is taken as normal. Where nothing or everything is right, Clopper and
    Pearson's bound for problems x k trials, which holds for unequal problems too.
    """
    if len(right) and (not right.any() or np.all(right == k)):
        return _one_sided(len(right) * k, bool(right[0]))
    if not len(right):
        return UNKNOWN
    found = noise_interval(float(right.mean() / k), noise_variance(right, k))
    return Interval(max(0.0, found.low), min(1.0, found.high)) if math.isfinite(found.low) else UNKNOWN


def noise_interval(mean: float, variance: float) -> Interval:
    """Of a mean whose noise is taken as normal with the given variance; unknown where that is, or is 0."""
    if not variance > 0:
        return UNKNOWN
    half = NormalDist().inv_cdf(1 - TAIL) * math.sqrt(variance)
    return Interval(mean - half, mean + half)


def noise_variance(right: NDArray[np.int64], k: int) -> float:
    """The variance of avg@k from sampling alone, the problems being given; not-a-number at k = 1."""
    if k < 2 or not len(right):
        return math.nan
    return float((right * (k - right)).sum()) / (k**2 * (k - 1) * len(right) ** 2)


def student_cdf(t: float, freedom: float) -> float:
    """Student's t distribution with `freedom` degrees of freedom, which need not be whole."""
    # Where it is used: what lists and shows evaluations need not wait for scipy.
    from scipy.special import stdtr

    return float(stdtr(freedom, t))


def student_quantile(level: float, freedom: float) -> float:
    """The t below which a share of `level` lies."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, level))
