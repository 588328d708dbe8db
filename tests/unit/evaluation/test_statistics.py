"""Paired tests and intervals against scipy, statsmodels, enumeration and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables, multitest

from dapoctl.evaluation.statistics.intervals import (
    avg_noise_interval,
    bootstrap_interval,
    bootstrap_intervals,
    difference_interval,
    noise_variance,
    share_interval,
    student_cdf,
    student_quantile,
)
from dapoctl.evaluation.statistics.significance import FEWEST, holm, mcnemar, minimal_detectable, sign_flip

ONE = np.array([3, -1, 0, 2, 2, 5, -4, 1, 0, 6])


def enumerated(differences: np.ndarray) -> float:
    """The share of all sign patterns whose sum is as far from 0."""
    sums = [abs(int(np.dot(signs, differences))) for signs in itertools.product((1, -1), repeat=len(differences))]
    return sum(total >= abs(int(differences.sum())) for total in sums) / len(sums)


@pytest.mark.parametrize("seed", range(12))
def test_sign_flips_are_those_that_enumeration_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.integers(-8, 9, int(rng.integers(1, 13)))
    found = sign_flip(differences)
    assert found.method == "sign flips, exact"
    assert found.p == pytest.approx(enumerated(differences), abs=1e-12)


def test_sign_flips_are_scipys() -> None:
    theirs = stats.permutation_test(
        (ONE, np.zeros_like(ONE)),
        lambda first, second, axis: np.mean(first - second, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip(ONE).p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_sign_flips_do_not_depend_on_the_unit_or_on_problems_that_agree() -> None:
    for other in (ONE * 32, -ONE, np.concatenate([ONE, np.zeros(50, dtype=np.int64)]), ONE[::-1]):
        assert sign_flip(other).p == pytest.approx(sign_flip(ONE).p, abs=1e-12)
    assert sign_flip(np.zeros(4, dtype=np.int64)).p == 1.0
    assert sign_flip(np.array([], dtype=np.int64)).p == 1.0


def test_many_problems_are_still_exact() -> None:
    """All of one sign: two patterns of 2^n."""
    assert sign_flip(np.full(60, 3)).p == pytest.approx(2.0**-59)
    same = sign_flip(np.repeat([1, -1], [300, 260]))
    assert same.p == pytest.approx(stats.binomtest(300, 560).pvalue, rel=1e-9)


def test_random_flips_stand_for_all_where_there_are_too_many() -> None:
    rng = np.random.default_rng(3)
    large = rng.integers(-(10**7), 2 * 10**7, 40)
    found = sign_flip(large, seed=5)
    assert found.method == "sign flips, 100,000 at random"
    assert found == sign_flip(large, seed=5)
    # By the central limit theorem; its error and that of the draws are far below 0.02.
    normal = 2 * stats.norm.sf(abs(large.sum()) / math.sqrt(float((large.astype(float) ** 2).sum())))
    assert found.p == pytest.approx(normal, abs=0.02)
    assert sign_flip(np.full(40, 10**7) + np.arange(40), seed=5, draws=999).p == pytest.approx(1 / 1000)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 9), (9, 3), (6, 0), (12, 12), (40, 15)])
def test_mcnemar_is_statsmodels(first: int, second: int) -> None:
    found = mcnemar(first, second).p
    if first + second:
        assert found == pytest.approx(contingency_tables.mcnemar([[5, first], [second, 7]], exact=True).pvalue)
        assert found == pytest.approx(stats.binomtest(first, first + second).pvalue)
    assert found == pytest.approx(sign_flip(np.repeat([1, -1], [first, second])).p)


def test_mcnemar_of_many_problems() -> None:
    assert mcnemar(1000, 2000).p == pytest.approx(stats.binomtest(1000, 3000).pvalue, rel=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_holm_is_statsmodels(seed: int) -> None:
    values = np.random.default_rng(seed).random(seed + 1) ** 2
    assert holm(values.tolist()) == pytest.approx(multitest.multipletests(values, method="holm")[1])


def test_holm_of_equal_and_of_no_values() -> None:
    assert holm([0.02, 0.02, 0.5]) == pytest.approx(multitest.multipletests([0.02, 0.02, 0.5], method="holm")[1])
    assert holm([]) == []


def summed_cdf(t: float, freedom: float) -> float:
    """Student's t distribution by Simpson's rule over its density, which is smooth in a where t = sqrt(freedom) tan(a)."""
    angles = np.linspace(0, math.atan(abs(t) / math.sqrt(freedom)), 200_001)
    ones = np.resize([2.0, 4.0], len(angles))
    ones[[0, -1]] = 1.0
    area = float((ones * np.cos(angles) ** (freedom - 1)).sum() * angles[1] / 3)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    return 0.5 + math.copysign(area * scale, t)


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 7.3, 29, 499, 1e5])
def test_students_t_is_the_sum_over_its_density(freedom: float) -> None:
    for t in (-40.0, -2.0, 0.0, 0.3, 1.96, 12.0):
        assert student_cdf(t, freedom) == pytest.approx(summed_cdf(t, freedom), abs=1e-9)
    for level in (0.5, 0.8, 0.975, 0.999):
        assert summed_cdf(student_quantile(level, freedom), freedom) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize(
    ("freedom", "published"),
    [
        (1, (3.078, 6.314, 12.706, 31.821, 63.657)),
        (2, (1.886, 2.920, 4.303, 6.965, 9.925)),
        (5, (1.476, 2.015, 2.571, 3.365, 4.032)),
        (10, (1.372, 1.812, 2.228, 2.764, 3.169)),
        (29, (1.311, 1.699, 2.045, 2.462, 2.756)),
        (100, (1.290, 1.660, 1.984, 2.364, 2.626)),
    ],
)
def test_quantiles_of_students_t_are_the_published_ones(freedom: int, published: tuple[float, ...]) -> None:
    """NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2."""
    found = [student_quantile(level, freedom) for level in (0.9, 0.95, 0.975, 0.99, 0.995)]
    assert found == pytest.approx(published, abs=6e-4)


def test_the_bootstrap_is_scipys() -> None:
    """Percentiles of the same resampling, at the expanded level."""
    values = np.random.default_rng(0).exponential(size=40)
    # The 97.5% point of Student's t with 39 degrees of freedom is 2.0227.
    level = 1 - 2 * stats.norm.cdf(-math.sqrt(40 / 39) * 2.0227)
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=50_000, method="percentile", rng=1
    ).confidence_interval
    ours = bootstrap_interval(values, draws=50_000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_same_seed_gives_the_same_interval_and_another_nearly() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=7) == bootstrap_interval(values, seed=7)
    assert bootstrap_interval(values, seed=7) != bootstrap_interval(values, seed=8)
    assert bootstrap_interval(values, seed=7).low == pytest.approx(bootstrap_interval(values, seed=8).low, abs=0.01)
    both = bootstrap_intervals(np.stack([values, values + 1], axis=1), seed=7)
    assert both[0].low == pytest.approx(bootstrap_interval(values, seed=7).low)
    assert both[1].low == pytest.approx(both[0].low + 1)


@pytest.mark.parametrize("count", [1, 4, 30])
def test_where_resampling_shows_nothing_the_bound_is_clopper_and_pearsons(count: int) -> None:
    for right in (0, count):
        exact = stats.binomtest(right, count).proportion_ci(0.95, method="exact")
        values = np.full(count, float(right > 0))
        found = share_interval(values, bootstrap_interval(values))
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    apart = difference_interval(np.zeros(30))
    assert (apart.low, apart.high) == pytest.approx((-0.1157, 0.1157), abs=1e-4)


def test_one_problem_says_nothing_of_others() -> None:
    for values in (np.array([0.5]), np.array([])):
        assert math.isnan(bootstrap_interval(values).low)
        assert math.isnan(difference_interval(values).high)
        assert math.isnan(minimal_detectable(values, 0.25))


def differences(
    rng: np.random.Generator, count: int, problems: int, k: int, alpha: float = 0.6, beta: float = 1.2
) -> tuple[np.ndarray, np.ndarray, float]:
    """(right responses of both sides, [count, problems] each, the true mean difference).

    A problem's share p is from a Beta distribution; the other side's is p + p(1-p)u with u uniform on [-0.6, 1].
    """
    share = rng.beta(alpha, beta, (count, problems))
    other = share + share * (1 - share) * rng.uniform(-0.6, 1, share.shape)
    truth = 0.2 * alpha * beta / ((alpha + beta) * (alpha + beta + 1))
    return rng.binomial(k, share), rng.binomial(k, other), truth


@pytest.mark.parametrize(("problems", "k"), [(30, 4), (30, 32), (100, 1)])
def test_intervals_for_problems_drawn_anew_cover(problems: int, k: int) -> None:
    """2,000 pairs of evaluations: difference, and avg@k of one side."""
    first, second, truth = differences(np.random.default_rng(0), 2000, problems, k)
    hits = np.zeros((2000, 2), dtype=bool)
    for place, (ours, theirs) in enumerate(zip(first / k, second / k, strict=True)):
        apart = difference_interval(theirs - ours, seed=place, draws=1000)
        own = share_interval(ours, bootstrap_interval(ours, seed=place, draws=1000))
        hits[place] = apart.low <= truth <= apart.high, own.low <= 0.6 / 1.8 <= own.high
    covered = hits.mean(axis=0)
    assert np.all((covered > 0.93) & (covered < 0.97)), covered


def test_intervals_for_these_problems_cover() -> None:
    rng = np.random.default_rng(1)
    share = rng.beta(0.6, 1.2, 30)
    hits = []
    for _ in range(2000):
        found = avg_noise_interval(rng.binomial(8, share), 8)
        hits.append(found.low <= share.mean() <= found.high)
    assert 0.93 < np.mean(hits) < 0.97


def test_the_variance_of_sampling_is_that_of_sampling() -> None:
    rng = np.random.default_rng(2)
    share = rng.beta(0.6, 1.2, 30)
    right = rng.binomial(8, share, (20_000, 30))
    assert np.mean([noise_variance(each, 8) for each in right]) == pytest.approx(
        (share * (1 - share)).sum() / 8 / 30**2, rel=0.01
    )
    assert right.mean(axis=1).var() / 64 == pytest.approx((share * (1 - share)).sum() / 8 / 30**2, rel=0.05)
    assert math.isnan(avg_noise_interval(np.array([0, 1, 1]), 1).low)
    nothing = avg_noise_interval(np.zeros(30, dtype=np.int64), 4)
    assert nothing.high == pytest.approx(stats.binomtest(0, 120).proportion_ci(0.95, method="exact").high)


def rejected(rng: np.random.Generator, effect: float, problems: int, k: int, count: int) -> tuple[float, float]:
    """(how often sign flips find a true difference of `effect`, the mean of what is said to be detectable)."""
    share = rng.uniform(0.2, 0.6, (count, problems))
    apart = rng.binomial(k, share + effect) - rng.binomial(k, share)
    found = np.mean([sign_flip(each).p < 0.05 for each in apart])
    return float(found), float(np.mean([minimal_detectable(each / k, 1 / k) for each in apart]))


@pytest.mark.parametrize(("problems", "k"), [(30, 8), (30, 32), (100, 4)])
def test_what_is_detectable_is_detected_four_times_of_five(problems: int, k: int) -> None:
    effect = rejected(np.random.default_rng(0), 0.05, problems, k, 300)[1]
    power, said = rejected(np.random.default_rng(1), effect, problems, k, 2000)
    assert said == pytest.approx(effect, rel=0.05)
    assert 0.76 < power < 0.84
    assert rejected(np.random.default_rng(2), 0.0, problems, k, 2000)[0] < 0.062


def test_nothing_is_detectable_with_fewer_than_six_problems_that_differ() -> None:
    assert FEWEST == 6
    assert sign_flip(np.full(5, 4)).p > 0.05 > sign_flip(np.full(6, 4)).p
    # All alike: the standard error is 0, and yet six problems would have to differ by one response each.
    assert minimal_detectable(np.zeros(30), 0.25) == pytest.approx(6 * 0.25 / 30)
