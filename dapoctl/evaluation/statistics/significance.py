"""Whether two evaluations of the same problems differ: tests, and correction for multiple tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dapoctl.evaluation.statistics.intervals import BLOCK, TAIL

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLIPS = 100_000
"""Random sign flips if there are too many to count exactly: the error of p is then 0.0007 near 0.05"""
MOST_WORK = 2e8
"""Limit of additions for counting all sign flips: 1,000 problems at k = 32 need a sixth of it"""


@dataclass(frozen=True)
class Significance:
    """The outcome of a two-sided test."""

    p: float
    method: str
    """Name of the test, with `exact` if it is"""


def sign_flip(differences: NDArray[np.int64], seed: int = 0, draws: int = FLIPS) -> Significance:
    """Sign-flip permutation test of paired `differences` [problems], in whole units.

    Under the null hypothesis, that the two sides are exchangeable, each difference has either sign with equal probability.
    p is the share of the 2^n sign patterns whose sum is at least as far from 0 as the observed one (Fisher 1935, "The Design
    of Experiments", section 21). Patterns are not listed but counted by their sum, one problem at a time. If that is too
    much work, `draws` random patterns are used, and p = (b+1) / (draws+1), which is never 0 (Phipson and Smyth 2010,
    arXiv:1603.05766).
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
    """The share of sign patterns whose sum is at least `observed` away from 0."""
    # A pattern's sum is total - 2 x (sum of the sizes with a minus sign): shares are indexed by that subset sum.
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
    """Exact test at k = 1 from the numbers of problems that only the first or only the second side solves (McNemar 1947).

    Under the null hypothesis each of these n problems belongs to either side with probability 1/2, so
    p = min(1, 2 P(Binomial(n, 1/2) <= the smaller)).
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    below = sum(math.comb(count, successes) for successes in range(fewer + 1))
    # Integers, since 2^count may exceed a float.
    return Significance(min(1.0, 2 * below / 2**count), "McNemar, exact")


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for multiple tests by Holm's step-down method (1979, Scandinavian Journal of Statistics 6).

    The i-th smallest of m is multiplied by m - i + 1, and none may be below the previous one. Values below 0.05 control the
    family-wise error rate: the chance of any false positive is at most 5%, whatever the dependence between the tests.
    """
    adjusted, floor = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        floor = max(floor, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = floor
    return adjusted


MOST_PATTERNS = 12
"""Problems that differ up to which every sign pattern of a row is tried"""
ROW_FLIPS = 9_999


def sign_flip_row(differences: NDArray[np.float64], seed: int = 0, draws: int = ROW_FLIPS) -> Significance:
    """One sign-flip test for several figures of the same problems: `differences` [problems, figures].

    A problem's differences change sign together, and the statistic is the largest of the figures' sums, each divided by its
    root sum of squares (Westfall and Young 1993, "Resampling-based multiple testing"). So p is for the whole row: of two sides
    that are exchangeable, at most 5% of rows have p < 0.05, however many figures they have.
    """
    apart = differences[differences.any(axis=1)]
    if not len(apart):
        return Significance(1.0, "sign flips, exact")
    sizes = np.sqrt((apart**2).sum(axis=0))
    scaled = apart[:, sizes > 0] / sizes[sizes > 0]
    observed = float(np.abs(scaled.sum(axis=0)).max()) * (1 - 1e-9)
    count = len(scaled)
    if count <= MOST_PATTERNS:
        patterns = ((np.arange(2**count)[:, None] >> np.arange(count) & 1) * 2 - 1).astype(np.float64)
        return Significance(float((_largest(patterns, scaled) >= observed).mean()), "sign flips, exact")
    rng = np.random.default_rng(seed)
    as_far = 0
    rows = max(1, BLOCK // count)
    for start in range(0, draws, rows):
        signs = rng.integers(0, 2, (min(rows, draws - start), count), dtype=np.int8).astype(np.float64) * 2 - 1
        as_far += int((_largest(signs, scaled) >= observed).sum())
    return Significance((as_far + 1) / (draws + 1), f"sign flips, {draws:,} at random")


def _largest(signs: NDArray[np.float64], scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    largest: NDArray[np.float64] = np.abs(signs @ scaled).max(axis=1)
    return largest


FEWEST = math.floor(math.log2(1 / TAIL)) + 1
"""Problems that must differ, all in one direction, for p < 0.05: 6"""
