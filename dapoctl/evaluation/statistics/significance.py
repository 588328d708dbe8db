"""Whether two evaluations of the same problems differ: tests, their correction, and what they could have shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dapoctl.evaluation.statistics.intervals import BLOCK, TAIL, student_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLIPS = 100_000
"""Random sign flips where there are too many to count them all: p then has an error of 0.0007 near 0.05"""
MOST_WORK = 2e8
"""Additions that counting all sign flips may take: 1,000 problems at k = 32 take a sixth of it"""
POWER = 0.8


@dataclass(frozen=True)
class Significance:
    """The outcome of a two-sided test."""

    p: float
    method: str
    """In words, `exact` included where it is"""


def sign_flip(differences: NDArray[np.int64], seed: int = 0, draws: int = FLIPS) -> Significance:
    """Permutation test of paired `differences` [problems], in whole units: that exchanging the two sides changes nothing.

    If it does not, each difference has either sign with the same probability, and p is the share of the 2^n sign patterns
    whose sum is as far from 0 as the observed one (Fisher 1935, "The Design of Experiments", section 21). Patterns are not
    listed but counted by their sum, one problem at a time. Where that is too much work, `draws` random patterns stand for
    all, and p = (b+1) / (draws+1) (Phipson and Smyth 2010, arXiv:1603.05766), which is never 0.
    """
    sizes = np.abs(differences[differences != 0]).astype(np.int64)
    observed, total = abs(int(differences.sum())), int(sizes.sum())
    if not len(sizes):
        return Significance(1.0, "sign flips, exact")
    divisor = int(np.gcd.reduce(sizes))
    sizes, observed, total = sizes // divisor, observed // divisor, total // divisor
    if float(total) * len(sizes) <= MOST_WORK:
        return Significance(_share_as_far(sizes, observed, total), "sign flips, exact")
    return Significance(_sampled_share(sizes, observed, seed, draws), f"sign flips, {draws:,} at random")


def _share_as_far(sizes: NDArray[np.int64], observed: int, total: int) -> float:
    """Of the patterns' sums, the share that is at least `observed` from 0."""
    # A sum is total - 2 x (the sizes with a minus sign): the share of patterns by that subset's sum.
    shares = np.zeros(total + 1)
    shares[0] = 1.0
    reached = 0
    for size in sizes:
        step = int(size)
        reached += step
        shares[: reached + 1] *= 0.5
        shares[step : reached + 1] += shares[: reached + 1 - step].copy()
    sums = np.abs(total - 2 * np.arange(total + 1))
    return min(1.0, float(shares[sums >= observed].sum()))


def _sampled_share(sizes: NDArray[np.int64], observed: int, seed: int, draws: int) -> float:
    rng = np.random.default_rng(seed)
    as_far = 0
    rows = max(1, BLOCK // len(sizes))
    for start in range(0, draws, rows):
        signs = rng.integers(0, 2, (min(rows, draws - start), len(sizes)), dtype=np.int8) * 2 - 1
        as_far += int((np.abs(signs @ sizes) >= observed).sum())
    return (as_far + 1) / (draws + 1)


def mcnemar(only_first: int, only_second: int) -> Significance:
    """Exact test at k = 1 from the problems that only the first and only the second solves (McNemar 1947).

    Given their number n, either side has each with probability 1/2: p = min(1, 2 P(Binomial(n, 1/2) <= the smaller)).
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    below = sum(math.comb(count, place) for place in range(fewer + 1))
    # Whole numbers, so that 2^count may be beyond a float.
    return Significance(min(1.0, 2 * below / 2**count), "McNemar, exact")


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, by Holm's step-down method (1979, Scandinavian Journal of Statistics 6).

    The i-th smallest of m is multiplied by m - i + 1, and none may be below one before it. Below 0.05 then means: the
    chance of even one false finding among them is at most 5%, however they depend on each other.
    """
    adjusted, floor = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        floor = max(floor, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = floor
    return adjusted


def minimal_detectable(differences: NDArray[np.float64], step: float) -> float:
    """The smallest true difference that a test at 5% finds in four of five repetitions, on problems and k like these.

    (t_{0.975} + t_{0.8}) standard errors of the mean of the paired `differences`, with n - 1 degrees of freedom (Bloom 1995,
    Evaluation Review 19). Never less than the smallest difference that can reach p < 0.05 at all: six problems, each by
    `step`, the smallest difference of one problem (1/k); fewer cannot, since 2/2^5 > 0.05. Not-a-number for one problem.
    """
    count = len(differences)
    if count < 2:
        return math.nan
    error = float(np.std(differences, ddof=1)) / math.sqrt(count)
    multiplier = student_quantile(1 - TAIL, count - 1) + student_quantile(POWER, count - 1)
    return min(1.0, max(multiplier * error, FEWEST * step / count))


FEWEST = math.floor(math.log2(1 / TAIL)) + 1
"""Problems that must differ, all to one side, for p < 0.05: 6"""
