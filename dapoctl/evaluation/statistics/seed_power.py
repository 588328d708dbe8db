"""How many training seeds an effect takes: the power of Student's test of a contrast, by the noncentral t distribution."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

from dapoctl.evaluation.statistics.power import ALPHA, POWER

MOST_SEEDS = 1_000
ONE_SIDED = 5.0
"""Standard errors by which an effect differs from 0, beyond which no test finds it on the wrong side (1 in 10^6)"""
LARGEST = 1e4
"""Standard errors, beyond which no effect is looked for"""


def power(effect: float, error: float, freedom: float, alpha: float = ALPHA) -> float:
    """The chance that the two-sided test of a contrast finds a true `effect`.

    Args:
        error: the contrast's standard error
        freedom: degrees of freedom of the variance
        alpha: the level; divided by the number of tests where they are a family, which Holm's method never falls below
    """
    from scipy.special import stdtrit
    from scipy.stats import nct

    limit, shift = float(stdtrit(freedom, 1 - alpha / 2)), abs(effect) / error
    wrong_side = 0.0 if shift > ONE_SIDED else float(nct.cdf(-limit, freedom, shift))
    return float(nct.sf(limit, freedom, shift)) + wrong_side


def detects(error: float, freedom: float, alpha: float = ALPHA, wanted: float = POWER) -> float:
    """The minimum detectable effect: the smallest true effect that the test finds with probability `wanted`.

    Not-a-number without degrees of freedom.
    """
    if not (freedom > 0 and error > 0):
        return 0.0 if error == 0 else math.nan
    return _detectable(freedom, alpha, wanted) * error


@functools.cache
def _detectable(freedom: float, alpha: float, wanted: float) -> float:
    """The same in standard errors."""
    low, high = 0.0, LARGEST
    if power(high, 1.0, freedom, alpha) < wanted:
        return math.inf
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, 1.0, freedom, alpha) < wanted else (low, middle)
    return high


def standard_error(deviation: float, weights: Mapping[str, float], seeds: Mapping[str, int]) -> float:
    """Of a contrast: `deviation` of a run, `weights` and number of `seeds` by cell."""
    return deviation * math.sqrt(
        math.fsum(
            weight**2 / seeds[cell] if seeds.get(cell) else math.inf for cell, weight in weights.items() if weight
        )
    )


def seeds_for(effect: float, deviation: float, arms: int = 2, alpha: float = ALPHA, wanted: float = POWER) -> int:
    """Seeds of each arm with which the difference of two of them is found; the variance is pooled over `arms` arms.

    `MOST_SEEDS` if that is not enough.
    """
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        error = deviation * math.sqrt(2 / middle)
        enough = power(effect, error, arms * (middle - 1), alpha) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high
