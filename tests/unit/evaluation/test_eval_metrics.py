"""Metrics of an evaluation against enumeration and closed forms."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from scipy.special import comb

from dapoctl.evaluation.statistics.pass_at_k import (
    figures,
    majority,
    pass_at,
    powers,
    right_counts,
    score_problems,
    summarize,
)
from tests.support.evaluations import counted, row, rows_of


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_pass_at_j_is_the_share_of_subsets_with_a_right_response(k: int) -> None:
    for right in range(k + 1):
        responses = [True] * right + [False] * (k - right)
        for j in range(1, k + 1):
            subsets = [any(chosen) for chosen in itertools.combinations(responses, j)]
            assert pass_at(np.array([right]), k, j)[0] == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)


def test_pass_at_j_of_many_responses_is_the_formula() -> None:
    for k, j in ((32, 16), (1000, 100), (4096, 4000)):
        right = np.array([0, 1, 3, k // 2, k])
        exact = [1 - Fraction(math.comb(k - int(c), j), math.comb(k, j)) for c in right]
        assert pass_at(right, k, j) == pytest.approx([float(value) for value in exact], rel=1e-9, abs=1e-12)
    assert pass_at(np.array([5]), 32, 8)[0] == pytest.approx(1 - comb(27, 8, exact=True) / comb(32, 8, exact=True))
    assert pass_at(np.array([3]), 10, 4)[0] == pytest.approx(stats.hypergeom(10, 3, 4).sf(0))


def test_pass_at_j_has_no_bias() -> None:
    share = 0.2
    right = np.random.default_rng(0).binomial(16, share, 200_000)
    for j in (1, 4, 16):
        assert pass_at(right, 16, j).mean() == pytest.approx(1 - (1 - share) ** j, abs=0.004)


@pytest.mark.parametrize("j", [0, 5])
def test_pass_at_more_than_k_is_refused(j: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{j} needs 1 <= j <= k = 4"):
        pass_at(np.array([2]), 4, j)


def test_the_js_that_are_shown() -> None:
    assert [powers(k) for k in (1, 2, 3, 4, 6, 32)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 4],
        [1, 2, 4, 6],
        [1, 2, 4, 8, 16, 32],
    ]


def voted(*texts: str | None) -> float:
    """maj of responses with these answers; `7` is right, None no answer."""
    outcomes = ["unanswered" if text is None else "right" if text == "7" else "wrong" for text in texts]
    found = [
        row("p", place, text == "7", extracted=text, outcome=outcome)
        for place, (text, outcome) in enumerate(zip(texts, outcomes, strict=True))
    ]
    return majority(found)


def test_majority_by_enumeration() -> None:
    """Ties are split by drawing one of the most frequent answers: its chance of being right."""
    for size in (1, 2, 3, 4, 5):
        for texts in itertools.product(("7", "8", "9", None), repeat=size):
            votes = Counter(text for text in texts if text is not None)
            most = [text for text, count in votes.items() if count == max(votes.values())]
            expected = Fraction(most.count("7"), len(most)) if most else Fraction(0)
            assert voted(*texts) == pytest.approx(float(expected)), texts


def test_majority_counts_equal_answers_together() -> None:
    assert voted("7", "7", "8", "008", "8") == 0.0
    assert voted("7", "7", "x  + 1", "x + 1", None) == 0.5
    # Wrong answers are merged by their value as right ones are: 2 of 5 are right, and 3 of 5 say one half.
    assert voted("7", "7", "1/2", "0.5", "\\frac{1}{2}") == 0.0
    assert voted("7", "7", "-\\dfrac12", "-.50", "1/2") == 0.5
    assert voted("7", "7", "1/3", "0.33", "1/0") == 1.0
    # However a right answer is written, it is the same vote.
    written = [row("p", 0, True, extracted="7.0"), row("p", 1, True, extracted="7"), row("p", 2, False, extracted="8")]
    assert majority(written) == 1.0
    # An answer of which nobody knows the text is no vote, nor is a timeout without one.
    silent = [row("p", place, False, extracted=None, outcome="timeout") for place in range(5)]
    assert majority([*silent, row("p", 6, True)]) == 1.0
    assert majority(silent) == 0.0


def test_a_summary_of_known_responses() -> None:
    rows = [
        row("a", 0, True, tokens=10),
        row("a", 1, True, tokens=20),
        row("b", 0, False, tokens=30, truncated=True, outcome="unanswered", extracted=None),
        row("b", 1, True, tokens=40),
        row("c", 0, False, tokens=50, outcome="unanswered", extracted=None),
        row("c", 1, False, tokens=60, outcome="timeout", extracted=None),
        row("d", 0, False, tokens=70, outcome="error", extracted=None),
        row("d", 1, False, tokens=80),
    ]
    found = summarize(rows, 2)
    exact = {
        "avg@2": 3 / 8,
        "pass@1": 3 / 8,
        "pass@2": 2 / 4,
        "maj@2": 2 / 4,
        "length_mean": 45.0,
        "truncated_fraction": 1 / 8,
        "unanswered_fraction": 2 / 8,
        "format_failure_fraction": 1 / 8,
        "error_fraction": 1 / 8,
        "timeout_fraction": 1 / 8,
    }
    assert {name: value for name, value in found.items() if "/" not in name} == pytest.approx(exact)
    ends = {f"{name}@2/{end}" for name in ("avg", "pass", "maj") for end in ("low", "high")}
    assert {name for name in found if "/" in name} == ends | {"avg@2/noise_low", "avg@2/noise_high"}
    assert found["avg@2/low"] < 3 / 8 < found["avg@2/high"]
    assert all(type(value) is float for value in found.values())


def test_the_share_without_a_mark_is_known_only_where_every_response_says() -> None:
    rows = [row("a", 0, True) | {"marked": True}, row("a", 1, False) | {"marked": False}]
    assert summarize(rows, 2)["unmarked_fraction"] == 0.5
    assert summarize([rows[0], row("a", 1, False)], 2).keys() == summarize(rows, 2).keys() - {"unmarked_fraction"}
    assert "unmarked_fraction" not in summarize([rows[0], rows[1] | {"marked": None}], 2)


def test_a_summary_does_not_depend_on_the_order_of_rows() -> None:
    rows = rows_of(counted([0, 1, 2, 3, 4, 4, 1]), 4)
    assert summarize(rows, 4) == summarize(rows[::-1], 4)


def test_problems_without_all_responses_do_not_count() -> None:
    rows = rows_of({"a": 4, "b": 0}, 4)
    unfinished = rows[:-1]
    assert summarize(rows, 4)["avg@4"] == 0.5
    assert summarize(unfinished, 4)["avg@4"] == 1.0
    assert summarize(rows[:3], 4) == {}
    assert summarize([], 4) == {}


def test_of_two_rows_for_one_response_the_first_counts_and_of_many_the_first_k() -> None:
    rows = [row("a", 0, True), row("a", 0, False), row("a", 1, False), row("a", 2, True), row("a", 3, True)]
    assert score_problems(rows, 2)["a"].right == 1
    assert score_problems(rows, 4)["a"].right == 3


def test_intervals_at_the_ends() -> None:
    """Nothing right of 30 problems by 4: at most some 6% for others like them, 3.0% for these."""
    found = summarize(rows_of(counted([0] * 30), 4), 4)
    assert (found["avg@4"], found["avg@4/low"], found["avg@4/noise_low"]) == (0.0, 0.0, 0.0)
    # Clopper and Pearson's bound for one response is above; that for responses which say nothing new of a problem below.
    assert found["avg@4/noise_high"] < found["avg@4/high"] < stats.binomtest(0, 30).proportion_ci(method="exact").high
    assert found["avg@4/noise_high"] == pytest.approx(stats.binomtest(0, 120).proportion_ci(method="exact").high)


def test_one_problem_has_no_interval_for_others() -> None:
    found = summarize(rows_of({"a": 2}, 4), 4)
    assert "avg@4/low" not in found
    assert found["avg@4/noise_low"] < 0.5 < found["avg@4/noise_high"]


def test_unknown_lengths_are_unknown() -> None:
    scores = [*score_problems([row("a", 0, True, tokens=math.nan), row("b", 0, True)], 1).values()]
    found = figures(scores, 1)
    assert math.isnan(found["length_mean"].value)
    assert found["avg@1"].value == 1.0
    assert right_counts(scores).tolist() == [1, 1]
