"""Made-up responses for scorers: labels that hold, counts that are those of the cases, and holes that are found."""

from __future__ import annotations

from collections import Counter

import pytest

from dapoctl.evaluation.scorer_check.cases import BUILT_IN, Problem, cases_of, hostile
from dapoctl.evaluation.scorer_check.check import check

PROBLEM = Problem("What is 1200+34?", "1234")
FORMS = ["#{answer}", "so {answer}."]
CASES = [*cases_of(PROBLEM, FORMS), *hostile(PROBLEM, FORMS)]


def test_no_wrong_answer_is_the_right_one() -> None:
    for problem in BUILT_IN:
        for case in cases_of(problem, ["<{answer}>"]):
            plain = case.response == f"<{problem.answer}>"
            assert plain == (case.right and case.kind == "form_1")
    kinds = {case.kind for case in CASES if not case.right and not case.exploit}
    assert kinds == {
        f"form_{form}, {how}" for form in (1, 2)
        for how in ("one more", "ten times", "sign turned", "last digit lost", "digits swapped")
    }  # fmt: skip
    assert {case.response for case in CASES if case.kind in ("thousands", "decimal", "leading_zero", "fraction")} == {
        "#1,234", "#1234.0", "#01234", r"#\frac{2468}{2}",
    }  # fmt: skip


def test_a_rule_that_takes_a_mark_is_exploited() -> None:
    found = check("marked", lambda case: "right" if "#" in case.response else "unanswered", CASES)
    marked = Counter(case.kind for case in CASES if case.exploit and "#" in case.response)
    assert found.exploits == marked
    assert marked["mark alone"] == 1
    assert found.false_positives == pytest.approx(5 / 10)
    assert found.refused == {"form_2": 1}
    assert found.recall == pytest.approx(5 / 6)


def test_a_rule_that_is_right_is_not() -> None:
    found = check(
        "exact", lambda case: "right" if case.response in ("#1234", "so 1234.") else "wrong", CASES, workers=3
    )
    assert (found.taken, sum(found.refused.values()), found.exploited, found.false_positives) == (2, 4, 0, 0)
    assert sum(found.tried.values()) == sum(case.exploit for case in CASES)
    assert found.wrong == 10


def test_failures_are_counted() -> None:
    found = check("slow", lambda case: "timeout" if "10^{10" in case.response else "wrong", CASES)
    assert found.failures == 1
