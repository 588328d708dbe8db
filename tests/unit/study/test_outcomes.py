"""Outcomes of curves made by hand, against what can be counted on paper, scipy and brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dapoctl.study.outcomes import Curves, curves_of, last_of, value_of
from dapoctl.study.schema import Outcome

ACCURACY = (0.2, 0.4, 0.4, 0.8, 0.9)


def curves(values: tuple[float, ...] = ACCURACY, rate: float = 100.0, **others: tuple[float, ...]) -> Curves:
    """Steps 1, 2, ... of half an hour, each of which samples for ten minutes at `rate` tokens a second."""
    rows = []
    for place, value in enumerate(values):
        metrics = {"score/accuracy": value, "time/generate": 600.0, "time/update": 1200.0}
        metrics |= {"throughput/generated_tokens_per_s": rate}
        metrics |= {name.replace("__", "/"): column[place] for name, column in others.items()}
        rows.append({"step": place + 1, "metrics": metrics})
    return curves_of(rows)


def outcome(**how: Any) -> Outcome:
    return Outcome(**{"metric": "score/accuracy", **how})


def test_what_steps_cost() -> None:
    found = curves()
    assert found.steps == [0, 1, 2, 3, 4, 5]
    assert found.tokens == pytest.approx([60_000 * step for step in range(6)])
    assert found.hours == pytest.approx([0.5 * step for step in range(6)])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"at": 4}, 0.8),
        ({"at": "last"}, 0.9),
        ({"at": "last", "over": 2}, 0.85),
        ({"at": 3, "over": 3}, 1.0 / 3),
        ({"area": (1, 5)}, (0.3 + 0.4 + 0.6 + 0.85) / 4),
        ({"area": (2, 4)}, (0.4 + 0.6) / 2),
        ({"reach": 0.4}, 2),
        ({"reach": 0.5}, 4),
        ({"reach": 0.5, "over": 3}, 4),
        ({"reach": 0.65, "over": 2}, 5),
        ({"reach": 0.8, "count": "tokens"}, 240_000),
        ({"reach": 0.8, "count": "hours"}, 2.0),
        # Half of the fourth step's tokens: between 0.4 and 0.8.
        ({"at_tokens": 210_000}, 0.6),
        ({"at_hours": 1.75}, 0.6),
        ({"at_tokens": 10_000}, 0.2),
        ({"when": "policy/kl", "level": 0.15}, 0.4),
        ({"when": "policy/kl", "level": 0.35}, 0.6),
    ],
)
def test_counted_by_hand(how: dict[str, Any], expected: float) -> None:
    found = value_of(outcome(**how), curves(policy__kl=(0.0, 0.1, 0.2, 0.5, 0.9)))
    assert (found.value, found.censored) == (pytest.approx(expected), False)


def test_the_area_is_numpys_trapezoid() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.random(rng.integers(3, 30))
        first, last = sorted(rng.choice(np.arange(1, len(values) + 1), 2, replace=False).tolist())
        found = value_of(outcome(area=(first, last)), curves(tuple(values.tolist())))
        expected = np.trapezoid(values[first - 1 : last], dx=1) / (last - first)
        assert found.value == pytest.approx(expected)


def test_the_way_to_a_threshold_is_brute_force() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        values, over = rng.random(20), int(rng.integers(1, 6))
        found = value_of(outcome(reach=0.7, over=over), curves(tuple(values.tolist())))
        reached = [step for step in range(over, 21) if values[step - over : step].mean() >= 0.7]
        assert found.value == (reached[0] if reached else 20)
        assert found.censored is not bool(reached)


def test_who_does_not_reach_a_threshold_counts_as_long_as_all_lasted() -> None:
    never, late = curves((0.1,) * 8), curves((0.1,) * 7 + (0.9,))
    asked = outcome(reach=0.8)
    assert (value_of(asked, never).value, value_of(asked, never).censored) == (8, True)
    assert (value_of(asked, late).value, value_of(asked, late).censored) == (8, False)
    # Another run was watched for six steps only: beyond these nothing can be compared.
    for found in (never, late):
        assert (value_of(asked, found, 6.0).value, value_of(asked, found, 6.0).censored) == (6, True)
    assert last_of(outcome(reach=0.8, count="tokens"), never) == pytest.approx(480_000)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"metric": "score/nothing", "at": 1}, "the run has no `score/nothing`"),
        ({"at": 9}, "the run has it up to step 5 only"),
        ({"at": 2, "over": 3}, "there are 2 values up to there, and the mean is over 3"),
        ({"area": (0, 5)}, "the run has it from step 1 to 5 only"),
        ({"at_tokens": 1e9}, "the run ended before 1e+09 tokens"),
        ({"when": "policy/kl", "level": 2.0}, "`policy/kl` did not reach 2"),
        ({"when": "policy/none", "level": 2.0}, "the run has no `policy/none`"),
    ],
)
def test_what_a_run_does_not_tell_says_why(how: dict[str, Any], why: str) -> None:
    found = value_of(outcome(**how), curves(policy__kl=(0.0, 0.1, 0.2, 0.5, 0.9)))
    assert math.isnan(found.value)
    assert found.why == why


def test_a_step_that_was_not_evaluated_has_no_value() -> None:
    rows = [{"step": step, "metrics": {"eval/a/avg@1": 0.1 * step}} for step in (0, 2, 4)]
    asked = Outcome(metric="eval/a/avg@1", at=3)
    assert value_of(asked, curves_of(rows)).why == "it was not measured at step 3"
    assert value_of(asked.model_copy(update={"at": 4}), curves_of(rows)).value == pytest.approx(0.4)


def test_rows_that_a_resumed_run_wrote_again_count_once() -> None:
    rows = [
        {"step": step, "metrics": {"time/generate": 10.0, "throughput/generated_tokens_per_s": 5.0}}
        for step in (1, 2, 2, 3)
    ]
    assert curves_of(rows).tokens == [0, 50, 100, 150]
