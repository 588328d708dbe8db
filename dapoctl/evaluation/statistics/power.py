"""The minimum detectable effect: the smallest true difference that a comparison's test finds with 80% power.

It is found by simulation. The baseline's problems are taken to have beta-distributed shares, with a mean and an intraclass
correlation smoothed so that neither nothing solved nor everything solved makes them certain. The other side solves each of them
with odds that are larger by one factor. Of such pairs the exact sign-flip test is taken, and the factor is searched at which it
rejects in 80% of them. The difference that was observed plays no part: two sides that agree do not make a small effect visible.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from dapoctl.evaluation.statistics.intervals import TAIL
from dapoctl.evaluation.statistics.significance import FEWEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

POWER = 0.8
ALPHA = 2 * TAIL
PAIRS = 300
"""Simulated pairs of evaluations: the standard error of the power is then 2.3%"""
DRAWN = 24_000
"""Simulated problems of each side at most, in at least `FEWEST_PAIRS` pairs"""
FEWEST_PAIRS = 60
HALVINGS = 7
LARGEST_SHIFT = 64.0
"""Of the log-odds"""
LARGEST_SUM = 2_000
"""Sum of differences, in whole units, up to which sign flips are counted exactly; the normal approximation is as good beyond"""
SMOOTHING = 0.5
"""Problems of either kind, never solved and always solved, that smooth the mean"""


def minimal_detectable(right: NDArray[np.int64], k: int, other_k: int | None = None) -> float:
    """The minimum detectable effect against a baseline with `right` [problems] of `k` responses.

    An increase if the baseline's mean is below 1/2, else a decrease; always the same for the same counts. Not-a-number if no
    difference is found with 80% power, as with fewer than six problems.

    Args:
        right: the baseline's right responses to each problem
        k: the baseline's responses to a problem
        other_k: the other side's; None for the same
    """
    if len(right) < FEWEST:
        return math.nan
    if 2 * right.sum() > k * len(right):
        right = k - right
    return _detectable(tuple(np.bincount(right, minlength=k + 1).tolist()), k, k if other_k is None else other_k)


@functools.lru_cache(maxsize=256)
def _detectable(counts: tuple[int, ...], k: int, other_k: int) -> float:
    """For a baseline with `counts[c]` problems with c right responses."""
    problems = sum(counts)
    mean = (sum(right * count for right, count in enumerate(counts)) / k + SMOOTHING) / (problems + 2 * SMOOTHING)
    pairs = min(PAIRS, max(FEWEST_PAIRS, DRAWN // problems))
    rng = np.random.default_rng(0)
    sharpness = 1 / correlation(np.array(counts), k, mean) - 1
    share = rng.beta(mean * sharpness, (1 - mean) * sharpness, (pairs, problems))
    unit = math.lcm(k, other_k)
    ours = rng.binomial(k, share) * (unit // k)
    least, most = 0.0, 1.0
    while _power(share, ours, most, other_k, unit) < POWER:
        if most >= LARGEST_SHIFT:
            return math.nan
        least, most = most, 2 * most
    for _ in range(HALVINGS):
        shift = (least + most) / 2
        if _power(share, ours, shift, other_k, unit) < POWER:
            least = shift
        else:
            most = shift
    return float((shifted(share, most) - share).mean())


def correlation(counts: NDArray[np.int64], k: int, mean: float) -> float:
    """The intraclass correlation of beta-binomial problems: the posterior mean, given the mean.

    The prior is Beta(3, 3): where hardly anything is solved, the counts say next to nothing of it.

    Args:
        counts: the number of problems with 0, 1, ... k right responses
        k: responses to a problem
        mean: of the problems' shares
    """
    from scipy.special import betaln

    grid = (np.arange(64) + 0.5) / 64
    sharpness = 1 / grid - 1
    right = np.flatnonzero(counts)
    first, second = mean * sharpness, (1 - mean) * sharpness
    logs = betaln(first + right[:, None], second + k - right[:, None]) - betaln(first, second)
    likelihood = counts[right] @ logs
    weights = np.exp(likelihood - likelihood.max()) * (grid * (1 - grid)) ** 2
    return float(weights @ grid / weights.sum())


def shifted(share: NDArray[np.float64], shift: float) -> NDArray[np.float64]:
    """Shares with `shift` more log-odds; 0 and 1 stay."""
    odds = math.exp(shift)
    result: NDArray[np.float64] = share * odds / (1 - share + share * odds)
    return result


def _power(share: NDArray[np.float64], ours: NDArray[np.int64], shift: float, k: int, unit: int) -> float:
    """How many of the simulated pairs the test finds different."""
    theirs = np.random.default_rng(1).binomial(k, shifted(share, shift)) * (unit // k)
    return float((sign_flips(theirs - ours) < ALPHA).mean())


def sign_flips(differences: NDArray[np.int64]) -> NDArray[np.float64]:
    """p of the sign-flip test for each row of `differences` [pairs, problems], in whole units.

    The distribution of the sum over all sign patterns has the characteristic function prod cos(d t), so that the chance of
    a sum nearer to 0 than the observed one is a finite Fourier sum: exact up to rounding, and for all pairs at once.
    """
    sizes = np.abs(differences)
    divisor = max(1, int(np.gcd.reduce(sizes, axis=None)))
    sizes, observed = sizes // divisor, np.abs(differences.sum(axis=1)) // divisor
    total = int(sizes.sum(axis=1).max())
    if total > LARGEST_SUM:
        from scipy.special import ndtr

        spread = np.sqrt((sizes.astype(np.float64) ** 2).sum(axis=1))
        normal: NDArray[np.float64] = 2 * ndtr(-observed / np.maximum(spread, 1))
        return normal
    largest = int(sizes.max())
    offsets = np.arange(len(sizes))[:, None] * (largest + 1)
    often = np.bincount((sizes + offsets).ravel(), minlength=len(sizes) * (largest + 1))
    often = often.reshape(len(sizes), -1).astype(np.float64)
    # An odd number of points, so that no cosine is 0; the function is even, so that half of them do.
    points = 2 * total + 1
    angles = 2 * np.pi * np.arange(total + 1) / points
    cosines = np.cos(np.outer(np.arange(largest + 1), angles))
    function = np.exp(often @ np.log(np.abs(cosines))) * (1 - 2 * (often @ (cosines < 0) % 2))
    kernel = np.ones_like(function) * (2 * observed[:, None] - 1)
    kernel[:, 1:] = np.sin((2 * observed[:, None] - 1) * angles[1:] / 2) / np.sin(angles[1:] / 2)
    nearer = (function * kernel * np.where(np.arange(total + 1) == 0, 1, 2)).sum(axis=1) / points
    result: NDArray[np.float64] = np.where(observed == 0, 1.0, np.clip(1 - nearer, 0, 1))
    return result
