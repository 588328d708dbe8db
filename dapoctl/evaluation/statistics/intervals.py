"""95% intervals of means over problems.

There are two kinds. The *interval over problems* answers what another set of such problems would show: it draws new weights for
the problems, each with all of its responses. *Sampling noise* answers what other responses to the same problems would show:
the problems are fixed. The interval over problems is usually the wider one, and the one to report.

Shares and their differences have a Bayesian bootstrap (Rubin 1981, Annals of Statistics 9) with a little weight on problems
that were not seen: one where everything is right and one where nothing is. Resampling alone cannot know of them, and where
few problems are ever solved its intervals cover 76 to 90%. `python -m experiments.bench.coverage` prints what these cover.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
DRAWS = 10_000
"""Resamples, or draws of weights: the ends of an interval then vary by about a hundredth of its width between seeds"""
BLOCK = 4_000_000
"""Random numbers held in memory at once"""


@dataclass(frozen=True)
class Interval:
    """A 95% confidence interval; not-a-number if the data do not determine it."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


def bootstrap_intervals(values: NDArray[np.float64], seed: int = 0, draws: int = DRAWS) -> list[Interval]:
    """Of the mean of each column of `values` [problems, figures]; the same seed gives the same intervals.

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
    """How often each of `count` problems is in each resample, in blocks of shape [some draws, count]."""
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK // count)
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        drawn = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def share_weight(responses: int) -> float:
    """Weight of an unseen problem at 0, and of one at 1, for shares of this number of `responses`; a seen problem has 1.

    At one response it is 1/2, which is Jeffreys' interval of a proportion. With more responses the seen problems already show
    values between 0 and 1, and less is needed: the constants are those with which 30 problems cover 93% or more at means of
    2 to 50%, for problems of beta-distributed difficulty and for those of which most are never solved.
    """
    return 0.18 + 0.32 / responses


def difference_weight(responses: int) -> float:
    """As `share_weight`, for an unseen problem that only one side solves: such are rarer than solved ones."""
    return 1 / 16 + 1 / (4 * responses)


def share_intervals(
    values: NDArray[np.float64], responses: Sequence[int], seed: int = 0, draws: int = DRAWS
) -> list[Interval]:
    """Of the mean of each column of shares `values` [problems, figures]; the same seed gives the same intervals.

    Args:
        values: between 0 and 1
        responses: for each column, the number of responses that its shares are of; 1 for values that are 0 or 1
        seed: of the weights
        draws: of weights
    """
    return _weighted_intervals(values, [share_weight(number) for number in responses], (0.0, 1.0), seed, draws)


def difference_intervals(
    differences: NDArray[np.float64], responses: Sequence[int], seed: int = 0, draws: int = DRAWS
) -> list[Interval]:
    """Of the mean of each column of paired differences of shares [problems, figures]; arguments as in `share_intervals`."""
    return _weighted_intervals(
        differences, [difference_weight(number) for number in responses], (-1.0, 1.0), seed, draws
    )


LEAST = 0.001
"""One printed digit, 0.1 points"""


def agreeing(interval: Interval, value: float, significant: bool) -> Interval:
    """The `interval` of the difference `value`, made to contain 0 exactly if a test finds it not `significant`.

    The test of no difference is exact, the interval is not. So 0 belongs to the interval if the test does not reject it, and
    where the two disagree, which is with few problems that differ, the end in question goes to the other side of 0: by one
    printed digit, or half of `value` if that is less.
    """
    if not (math.isfinite(interval.low) and math.isfinite(value)):
        return interval
    least = min(LEAST, abs(value) / 2) if significant else LEAST
    low, high = interval.low, interval.high
    if significant:
        return Interval(low if low > 0 or value < 0 else least, high if high < 0 or value > 0 else -least)
    return Interval(low if low < 0 else -least, high if high > 0 else least)


def _weighted_intervals(
    values: NDArray[np.float64], weights: Sequence[float], ends: tuple[float, float], seed: int, draws: int
) -> list[Interval]:
    """Bayesian bootstrap of column means, with an unseen problem of each column's weight at either of the `ends`.

    Quantiles are expanded as in `bootstrap_intervals`. An interval always contains the mean itself.
    """
    count = len(values)
    if count < 2:
        return [UNKNOWN] * values.shape[1]
    rng = np.random.default_rng(seed)
    unseen = {weight: rng.standard_gamma(weight, (2, draws)) for weight in sorted({*weights})}
    sums, totals = np.empty((draws, values.shape[1])), np.empty(draws)
    size = max(1, BLOCK // count)
    for start in range(0, draws, size):
        seen = rng.standard_exponential((min(size, draws - start), count))
        sums[start : start + size], totals[start : start + size] = seen @ values, seen.sum(axis=1)
    tail = NormalDist().cdf(-math.sqrt((count + 1) / (count - 1)) * student_quantile(1 - TAIL, count - 1))
    found = []
    for column, weight in enumerate(weights):
        below, above = unseen[weight]
        means = (sums[:, column] + ends[0] * below + ends[1] * above) / (totals + below + above)
        low, high = np.quantile(means, [tail, 1 - tail])
        mean = float(values[:, column].mean())
        found.append(Interval(min(float(low), mean), max(float(high), mean)))
    return found


def _one_sided(trials: int, right: bool) -> Interval:
    bound: float = 1 - TAIL ** (1 / trials)
    return Interval(1 - bound, 1.0) if right else Interval(0.0, bound)


def avg_noise_interval(right: NDArray[np.int64], k: int) -> Interval:
    """Of avg@k, for sampling noise only, from the numbers of `right` responses of `k` [problems]; unknown at k = 1.

    The closed form of resampling within each problem: a problem's share has variance p(1-p)/k, of which c(k-c) / (k^2 (k-1))
    is an unbiased estimate; the mean over problems is taken as normal. If nothing or everything is right, the bound is
    Clopper and Pearson's for problems x k trials, which also holds for unequal problems.
    """
    if len(right) and (not right.any() or np.all(right == k)):
        return _one_sided(len(right) * k, bool(right[0]))
    if not len(right):
        return UNKNOWN
    normal = noise_interval(float(right.mean() / k), noise_variance(right, k))
    return Interval(max(0.0, normal.low), min(1.0, normal.high)) if math.isfinite(normal.low) else UNKNOWN


def noise_interval(mean: float, variance: float) -> Interval:
    """Of a mean with normal noise of the given variance; unknown if the variance is unknown or 0."""
    if not variance > 0:
        return UNKNOWN
    half = NormalDist().inv_cdf(1 - TAIL) * math.sqrt(variance)
    return Interval(mean - half, mean + half)


def noise_variance(right: NDArray[np.int64], k: int) -> float:
    """The variance of avg@k from sampling noise, with the problems fixed; not-a-number at k = 1."""
    if k < 2 or not len(right):
        return math.nan
    return float((right * (k - right)).sum()) / (k**2 * (k - 1) * len(right) ** 2)


def student_cdf(t: float, freedom: float) -> float:
    """Student's t distribution function with `freedom` degrees of freedom, not necessarily an integer."""
    # Imported here: commands that list and show evaluations need not wait for scipy.
    from scipy.special import stdtr

    return float(stdtr(freedom, t))


def student_quantile(level: float, freedom: float) -> float:
    """The quantile of Student's t distribution at `level`."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, level))
