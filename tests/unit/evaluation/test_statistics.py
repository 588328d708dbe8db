"""Paired tests and intervals against scipy, statsmodels, enumeration and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables, multitest

from dapoctl.evaluation.statistics.intervals import (
    Interval,
    agreeing,
    avg_noise_interval,
    bootstrap_intervals,
    difference_intervals,
    noise_variance,
    share_intervals,
    student_cdf,
    student_quantile,
)
from dapoctl.evaluation.statistics.power import minimal_detectable, sign_flips
from dapoctl.evaluation.statistics.significance import FEWEST, holm, mcnemar, sign_flip, sign_flip_row

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
    (ours,) = bootstrap_intervals(values[:, None], draws=50_000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_same_seed_gives_the_same_interval_and_another_nearly() -> None:
    values = np.random.default_rng(0).random((30, 1))
    for of in (bootstrap_intervals, lambda values, seed: share_intervals(values, [4], seed)):
        (one,), (again,), (other,) = of(values, seed=7), of(values, seed=7), of(values, seed=8)
        assert one == again != other
        assert one.low == pytest.approx(other.low, abs=0.01)
    both = bootstrap_intervals(np.concatenate([values, values + 1], axis=1), seed=7)
    assert both[1].low == pytest.approx(both[0].low + 1)


@pytest.mark.parametrize("right", [0, 1, 4, 15, 30])
def test_at_one_response_the_interval_is_jeffreys(right: int) -> None:
    """Beta(right + 1/2, wrong + 1/2), at the level that Student's t and sqrt((n+1)/(n-1)) expand it to."""
    values = np.repeat([1.0, 0.0], [right, 30 - right])[:, None]
    (found,) = share_intervals(values, [1], draws=400_000)
    tail = stats.norm.cdf(-math.sqrt(31 / 29) * stats.t.ppf(0.975, 29))
    low, high = stats.beta.ppf([tail, 1 - tail], right + 0.5, 30.5 - right)
    mean = right / 30
    assert (found.low, found.high) == pytest.approx((min(low, mean), max(high, mean)), abs=0.003)


def test_there_is_no_jump_where_the_first_response_is_right() -> None:
    """0, 1, 2 and 5 of 960: ends move by little, always up, and the mean is always inside."""
    columns = np.zeros((30, 4))
    columns[0, 1:] = 1 / 32
    columns[1, 2:] = 1 / 32
    columns[2:5, 3] = 1 / 32
    found = share_intervals(columns, [32] * 4)
    highs = [each.high for each in found]
    assert found[0].low == 0
    assert 0.03 < highs[0] < 0.08
    assert all(0 <= later - one < 0.006 for one, later in itertools.pairwise(highs))
    assert all(each.low <= mean <= each.high for each, mean in zip(found, columns.mean(axis=0), strict=True))


def test_problems_that_all_agree_leave_both_directions_open() -> None:
    (apart,) = difference_intervals(np.zeros((30, 1)), [32])
    assert apart.low == pytest.approx(-apart.high, abs=0.005)
    assert 0.01 < apart.high < 0.06


def test_one_problem_says_nothing_of_others() -> None:
    for values in (np.full((1, 1), 0.5), np.empty((0, 1))):
        for (found,) in (bootstrap_intervals(values), share_intervals(values, [4]), difference_intervals(values, [4])):
            assert math.isnan(found.low)


@pytest.mark.parametrize(
    ("interval", "value", "significant", "expected"),
    [
        (Interval(-0.02, 0.05), 0.01, False, Interval(-0.02, 0.05)),
        (Interval(0.01, 0.05), 0.03, True, Interval(0.01, 0.05)),
        (Interval(0.01, 0.05), 0.03, False, Interval(-0.001, 0.05)),
        (Interval(-0.05, -0.01), -0.03, False, Interval(-0.05, 0.001)),
        (Interval(-0.02, 0.05), 0.01, True, Interval(0.001, 0.05)),
        (Interval(-0.05, 0.02), -0.01, True, Interval(-0.05, -0.001)),
        (Interval(-0.02, 0.05), 0.0004, True, Interval(0.0002, 0.05)),
    ],
)
def test_an_interval_contains_0_exactly_where_the_test_does_not_reject(
    interval: Interval, value: float, significant: bool, expected: Interval
) -> None:
    found = agreeing(interval, value, significant)
    assert found == expected
    assert (found.low > 0 or found.high < 0) == significant
    assert found.low <= value <= found.high


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
    for intervals, expected in (
        (difference_intervals((second - first).T / k, [k] * 2000, draws=1000), truth),
        (share_intervals(first.T / k, [k] * 2000, draws=1000), 0.6 / 1.8),
    ):
        covered = np.mean([each.low <= expected <= each.high for each in intervals])
        assert 0.93 < covered < 0.99


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


def test_many_sign_flips_at_once_are_the_single_ones() -> None:
    rng = np.random.default_rng(4)
    differences = rng.integers(-8, 9, (30, 12)) * (rng.random((30, 12)) < 0.6)
    found = sign_flips(differences * 3)
    assert found == pytest.approx([enumerated(row) for row in differences], abs=1e-9)


@pytest.mark.parametrize("problems", [6, 40])
def test_one_test_for_a_row_is_the_largest_of_its_figures(problems: int) -> None:
    """Against scipy's permutation test of the same statistic; exact with few problems, random flips with many."""
    rng = np.random.default_rng(1)
    row = rng.normal(0.2, 1, (problems, 1)) + rng.normal(0, 0.3, (problems, 3))
    scales = np.sqrt((row**2).sum(axis=0))

    def largest(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.abs((first - second).sum(axis=0) / scales).max())

    signs = (
        np.array(list(itertools.product((1, -1), repeat=problems)))
        if problems == 6
        else np.random.default_rng(9).choice((1, -1), (40_000, problems))
    )
    expected = np.mean([largest(sign[:, None] * row, 0 * row) >= largest(row, 0 * row) - 1e-12 for sign in signs])
    assert sign_flip_row(row).p == pytest.approx(expected, abs=1e-12 if problems == 6 else 0.02)
    assert sign_flip_row(row * 0).p == 1.0


def test_a_row_of_one_figure_is_the_sign_flip_test() -> None:
    assert sign_flip_row(ONE[:, None] / 8).p == pytest.approx(sign_flip(ONE).p)


def test_picking_from_a_row_is_corrected_for() -> None:
    """Two equal sides, five noisy figures each: one test for the row rejects in at most 5%, the best of five in more."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(300, 12, 5))
    whole = np.mean([sign_flip_row(row).p < 0.05 for row in rows])
    best = np.mean([min(sign_flip_row(row[:, [place]]).p for place in range(5)) < 0.05 for row in rows])
    assert whole < 0.08
    assert best > 0.13


def test_nothing_is_detectable_with_fewer_than_six_problems() -> None:
    assert FEWEST == 6
    assert sign_flip(np.full(5, 4)).p > 0.05 > sign_flip(np.full(6, 4)).p
    assert math.isnan(minimal_detectable(np.zeros(5, dtype=np.int64), 4))


def test_what_is_detectable_is_always_the_same_and_alike_from_both_ends() -> None:
    right = np.array([0, 1, 0, 4, 2, 0, 1, 3, 0, 0])
    first = minimal_detectable(right, 4)
    assert first == minimal_detectable(right[::-1], 4) == minimal_detectable(4 - right, 4)
    assert 0.1 < first < 0.6
    # More responses on the other side see less; a hundred times the problems see about a tenth.
    assert minimal_detectable(right, 4, 64) < first
    assert minimal_detectable(np.tile(right, 100), 4) == pytest.approx(first / 10, rel=0.5)
