"""Designed experiments against scipy, brute force and simulation: cell means, factorial contrasts, verdicts, power."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from dapoctl.evaluation.statistics.cells import CellMeans, Estimate
from dapoctl.evaluation.statistics.factorial import Cell, interaction, ladder, leave_one_out, main_effect
from dapoctl.evaluation.statistics.intervals import Interval
from dapoctl.evaluation.statistics.seed_power import detects, power, seeds_for, standard_error
from dapoctl.evaluation.statistics.verdict import Word, judge

FACTORS = ("clip", "sampling", "tokens", "overlong")


def full_factorial(count: int = 4) -> dict[str, Cell]:
    names = FACTORS[:count]
    return {
        "".join("01"[bit] for bit in bits): frozenset(itertools.compress(names, bits))
        for bits in itertools.product((0, 1), repeat=count)
    }


def drawn(sizes: dict[str, int], seed: int, blocks: float = 0.0) -> list[tuple[str, int, float]]:
    """Runs of cells of unlike size and mean; what a seed adds to all its runs has the deviation `blocks`."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, blocks, max(sizes.values()))
    return [
        (cell, index, float(place + shared[index] + rng.normal()))
        for place, (cell, size) in enumerate(sizes.items())
        for index in range(size)
    ]


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def values_of(rows: list[tuple[str, int, float]], cell: str) -> list[float]:
    return [value for found, _, value in rows if found == cell]


# Cells


@pytest.mark.parametrize("sizes", [{"a": 5, "b": 5}, {"a": 3, "b": 8}])
def test_two_cells_are_students_test(sizes: dict[str, int]) -> None:
    rows = drawn(sizes, 1)
    expected = stats.ttest_ind(values_of(rows, "b"), values_of(rows, "a"))
    found = CellMeans(rows).contrast({"b": 1, "a": -1})
    assert found.p == pytest.approx(expected.pvalue)
    assert found.freedom == expected.df
    interval = expected.confidence_interval()
    assert ends(found.interval()) == pytest.approx((interval.low, interval.high))


def test_two_paired_cells_are_the_paired_test() -> None:
    rows = drawn({"a": 6, "b": 6}, 2, blocks=5)
    expected = stats.ttest_rel(values_of(rows, "b"), values_of(rows, "a"))
    found = CellMeans(rows, paired=True).contrast({"b": 1, "a": -1})
    assert (found.p, found.freedom) == (pytest.approx(expected.pvalue), expected.df)
    assert found.error < CellMeans(rows).contrast({"b": 1, "a": -1}).error / 2


def test_the_variance_is_pooled_over_cells_of_any_size() -> None:
    rows = drawn({"a": 2, "b": 3, "c": 5, "d": 1}, 3)
    fitted = CellMeans(rows)
    groups = [values_of(rows, cell) for cell in "abcd"]
    within = sum(sum((value - np.mean(group)) ** 2 for value in group) for group in groups)
    assert fitted.freedom == 7
    assert fitted.deviation == pytest.approx(math.sqrt(within / 7))
    assert ends(fitted.deviation_interval()) == pytest.approx(
        [math.sqrt(within / stats.chi2.ppf(q, 7)) for q in (0.975, 0.025)]
    )
    mean = fitted.mean("c")
    assert (mean.value, mean.error) == (
        pytest.approx(np.mean(groups[2])),
        pytest.approx(fitted.deviation / math.sqrt(5)),
    )


def test_paired_cells_with_runs_missing_are_least_squares() -> None:
    rows = [
        row for row in drawn({"a": 5, "b": 5, "c": 5}, 4, blocks=3) if row[:2] not in (("a", 1), ("c", 4), ("b", 0))
    ]
    cells, seeds = ["a", "b", "c"], range(5)
    # Of full rank: the first cell and the first seed are the origin.
    design = np.array([[1.0, *(c == o for o in cells[1:]), *(s == o for o in seeds[1:])] for c, s, _ in rows])
    values = np.array([value for _, _, value in rows])
    solved, (square,), rank, _ = np.linalg.lstsq(design, values)
    deviation = math.sqrt(square / (len(rows) - rank))
    error = deviation * math.sqrt(np.linalg.inv(design.T @ design)[2, 2])
    found = CellMeans(rows, paired=True).contrast({"c": 1, "a": -1})
    assert (found.value, found.error) == (pytest.approx(solved[2]), pytest.approx(error))
    assert found.freedom == len(rows) - rank


def test_what_the_runs_do_not_tell_is_not_a_number() -> None:
    unknown = CellMeans([("a", 1, 0.5), ("b", 2, 0.7)]).contrast({"a": 1, "b": -1})
    assert unknown.value == pytest.approx(-0.2)
    assert math.isnan(unknown.p)
    assert all(map(math.isnan, ends(unknown.interval())))
    rows = drawn({"a": 3, "b": 3}, 5)
    assert math.isnan(CellMeans(rows).contrast({"a": 1, "nobody": -1}).value)
    # No seed is in both cells, so that a pair cannot be told from a seed.
    apart = [(cell, seed + 10 * (cell == "b"), value) for cell, seed, value in rows]
    assert math.isnan(CellMeans(apart, paired=True).contrast({"a": 1, "b": -1}).value)
    assert math.isnan(CellMeans([]).deviation)
    assert len(CellMeans([*rows, ("a", 9, math.nan)]).rows) == 6


def test_cells_without_spread() -> None:
    same = CellMeans([("a", 1, 0.1), ("a", 2, 0.1), ("b", 1, 0.3), ("b", 2, 0.3)])
    assert same.deviation == 0
    assert same.contrast({"b": 1, "a": -1}).p == 0
    assert CellMeans([("a", 1, 0.1), ("a", 2, 0.1), ("b", 1, 0.1), ("b", 2, 0.1)]).contrast({"b": 1, "a": -1}).p == 1


# Factorial designs


def test_effects_are_those_of_the_coded_regression() -> None:
    """Factors coded -1 and 1: an effect is twice its coefficient, a difference of differences four times."""
    cells = full_factorial()
    rows = drawn(dict.fromkeys(cells, 3), 6)
    fitted = CellMeans(rows)
    pairs = [*itertools.combinations(FACTORS, 2)]
    columns = []
    for cell, _, _ in rows:
        coded = {factor: 1.0 if factor in cells[cell] else -1.0 for factor in FACTORS}
        columns.append([1.0, *coded.values(), *(coded[a] * coded[b] for a, b in pairs)])
    solved, *_ = np.linalg.lstsq(np.array(columns), np.array([value for *_, value in rows]))
    for place, factor in enumerate(FACTORS):
        found = fitted.contrast(main_effect(cells, factor))
        assert found.value == pytest.approx(2 * solved[1 + place])
        assert found.error == pytest.approx(fitted.deviation * math.sqrt(2 / 24))
        assert found.freedom == 32
    for place, (first, second) in enumerate(pairs):
        found = fitted.contrast(interaction(cells, first, second))
        assert found.value == pytest.approx(4 * solved[5 + place])
        assert found.error == pytest.approx(fitted.deviation * math.sqrt(4 / 12))


def test_ladder_and_leave_one_out_are_differences_of_two_cells() -> None:
    cells = full_factorial()
    assert ladder(cells, FACTORS) == [
        ("clip", {"1000": 1.0, "0000": -1.0}),
        ("sampling", {"1100": 1.0, "1000": -1.0}),
        ("tokens", {"1110": 1.0, "1100": -1.0}),
        ("overlong", {"1111": 1.0, "1110": -1.0}),
    ]
    assert leave_one_out(cells, FACTORS)[1] == ("sampling", {"1111": 1.0, "1011": -1.0})
    half = {name: on for name, on in cells.items() if len(on) % 2 == 0}
    assert ladder(half, FACTORS) == []
    assert leave_one_out(half, FACTORS) == []
    assert sum(main_effect(half, "clip").values()) == pytest.approx(0)


# Verdicts


def test_equivalence_is_two_one_sided_tests() -> None:
    """Whatever is drawn: the verdict says equivalent exactly where both tests reject at 5%."""
    said = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        first, second = rng.normal(0, 1, 50), rng.normal(rng.uniform(-1.5, 1.5), 1, 45)
        rows = [("a", index, float(v)) for index, v in enumerate(first)]
        rows += [("b", index, float(v)) for index, v in enumerate(second)]
        estimate = CellMeans(rows).contrast({"b": 1, "a": -1})
        tests = [
            stats.ttest_ind(second + 0.9, first, alternative="greater").pvalue,
            stats.ttest_ind(second - 0.9, first, alternative="less").pvalue,
        ]
        verdict = judge(estimate, estimate.p, 0.9)
        assert (verdict.margin == 0.9) is bool(max(tests) < 0.05)
        assert (verdict.word in (Word.BETTER, Word.WORSE)) is bool(stats.ttest_ind(second, first).pvalue < 0.05)
        said.add(str(verdict))
    assert said == {
        "better",
        "worse",
        "equivalent within ±0.9",
        "not seen",
        "better, but within ±0.9",
        "worse, but within ±0.9",
    }


@pytest.mark.parametrize(
    ("value", "p", "higher", "expected"),
    [
        (2.0, 0.01, True, "better"),
        (2.0, 0.01, False, "worse"),
        (-2.0, 0.01, False, "better"),
        (2.0, 0.2, True, "not seen"),
        (math.nan, math.nan, True, "unknown"),
    ],
)
def test_the_word_for_a_difference(value: float, p: float, higher: bool, expected: str) -> None:
    assert str(judge(Estimate(value, 0.7, 10), p, 0.5, higher)) == expected


# Power


@pytest.mark.parametrize(("effect", "expected"), [(0.2, 393), (0.3, 175), (0.5, 64), (0.8, 26), (1.0, 17)])
def test_seeds_for_an_effect_are_cohens_table(effect: float, expected: int) -> None:
    """Cohen 1988, Statistical Power Analysis, table 2.4.1: two-sided 5%, power 0.8, per group. He rounds: one more or less."""
    assert abs(seeds_for(effect, 1.0) - expected) <= 1


def test_the_minimum_detectable_effect_has_that_power() -> None:
    for freedom in (2, 4, 8, 32, 200):
        for alpha in (0.05, 0.05 / 12):
            assert power(detects(0.3, freedom, alpha), 0.3, freedom, alpha) == pytest.approx(0.8, abs=1e-6)
    assert math.isnan(detects(0.3, 0))
    assert detects(0.0, 4) == 0


def test_what_was_planted_is_found_as_often_as_promised() -> None:
    """A factorial of 16 cells and 3 seeds: an effect as large as it detects is found in 80%, a zero in 5%;
    that effect is called equivalent within itself in 5% at most."""
    cells = full_factorial()
    weights = [main_effect(cells, factor) for factor in FACTORS]
    error = standard_error(2.0, weights[0], dict.fromkeys(cells, 3))
    planted = detects(error, 32)
    found = missed = wrong = covered = equivalent = 0
    trials = 600
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        rows = [
            (name, seed, float(planted * ("clip" in on) + rng.normal(0, 2)))
            for name, on in cells.items()
            for seed in range(3)
        ]
        fitted = CellMeans(rows)
        clip, sampling = fitted.contrast(weights[0]), fitted.contrast(weights[1])
        found += judge(clip, clip.p, planted).word is Word.BETTER
        missed += judge(clip, clip.p, planted).word is Word.EQUIVALENT
        wrong += judge(sampling, sampling.p, planted).word in (Word.BETTER, Word.WORSE)
        covered += clip.interval().low <= planted <= clip.interval().high
        equivalent += judge(sampling, sampling.p, planted).word is Word.EQUIVALENT
    assert found / trials == pytest.approx(0.8, abs=0.05)
    assert wrong / trials == pytest.approx(0.05, abs=0.027)
    assert covered / trials == pytest.approx(0.95, abs=0.027)
    assert missed / trials < 0.05 + 0.027
    assert equivalent / trials > 0.6
