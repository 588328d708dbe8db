"""What is said of runs whose values were planted: every difference, its correction, its verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dapoctl.study.analysis import ARM, INTERACTION, LADDER, LEAVE_OUT, MAIN, Outcomes, analyse, planned_power
from dapoctl.study.outcomes import Curves, curves_of
from dapoctl.study.plan import Plan, PlannedRun, make_plan
from tests.support.studies import STUDY, write_study

MANY = STUDY.replace("seeds = [1, 2]\n", "seeds = [1, 2, 3, 4, 5]\n").replace(
    "arm_seeds = [1, 2]", "arm_seeds = [1, 2, 3, 4, 5]"
)


def with_values(plan: Plan, means: Mapping[str, float], deviation: float, seed: int = 0) -> dict[PlannedRun, Curves]:
    """Runs whose accuracy is flat, at the mean of their arm plus noise."""
    rng = np.random.default_rng(seed)
    made = {}
    for run in plan.runs:
        level = means[run.arm] + deviation * rng.normal()
        rows = [
            {"step": step, "metrics": {"eval/arithmetic/avg@1": level, "response/length_mean": 10.0 + level}}
            for step in (0, 2, 3, 4)
        ]
        made[run] = curves_of(rows)
    return made


MEANS = {"grpo": 0.5, "tokens": 0.5, "clip": 0.6, "dapo": 0.6, "strict": 0.6, "chance": 0.5}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(write_study(tmp_path, MANY))


def middle(plan: Plan, curves: Mapping[PlannedRun, Curves]) -> Outcomes:
    return next(each for each in analyse(plan, curves) if each.name == "middle")


def test_planted_effects_are_found_and_planted_zeros_are_not(plan: Plan) -> None:
    found = middle(plan, with_values(plan, MEANS, 0.01))
    said = {(effect.kind, effect.name): str(effect.verdict) for effect in found.effects if effect.verdict is not None}
    assert said == {
        (MAIN, "clip"): "better",
        (MAIN, "tokens"): "equivalent within ±0.03",
        (ARM, "strict"): "equivalent within ±0.03",
        (ARM, "chance"): "equivalent within ±0.03",
    }
    by_kind = {effect.name: effect.estimate.value for effect in found.of(LADDER)}
    assert by_kind == {"clip": pytest.approx(0.1, abs=0.02), "tokens": pytest.approx(0, abs=0.02)}
    assert {effect.name: round(effect.estimate.value, 1) for effect in found.of(LEAVE_OUT)} == {
        "clip": 0.1,
        "tokens": 0.0,
    }
    (both,) = found.of(INTERACTION)
    assert both.verdict is None
    assert abs(both.estimate.value) < 0.03


def test_with_noise_a_zero_is_not_seen(plan: Plan) -> None:
    found = middle(plan, with_values(plan, MEANS, 0.1, seed=3))
    assert str(found.of(MAIN)[1].verdict) == "not seen"
    assert found.of(MAIN)[1].detects > 0.03


def test_figures_are_those_of_the_runs(plan: Plan) -> None:
    curves = with_values(plan, MEANS, 0.05, seed=1)
    found = middle(plan, curves)
    values = {run: value.value for run, value in found.values.items()}
    groups = {arm: [value for run, value in values.items() if run.arm == arm] for arm in plan.arms}
    square = sum((value - np.mean(group)) ** 2 for group in groups.values() for value in group)
    freedom = len(values) - len(groups)
    assert found.fitted.deviation == pytest.approx(math.sqrt(square / freedom))
    (strict,) = [effect for effect in found.of(ARM) if effect.name == "strict"]
    assert strict.against == "dapo"
    assert strict.estimate.value == pytest.approx(np.mean(groups["strict"]) - np.mean(groups["dapo"]))
    error = math.sqrt(square / freedom * (1 / len(groups["strict"]) + 1 / len(groups["dapo"])))
    raw = 2 * stats.t.sf(abs(strict.estimate.value) / error, freedom)
    assert strict.estimate.p == pytest.approx(raw)
    # Four tests are a family: two main effects and two arms.
    tested = [effect.estimate.p for effect in found.effects if effect.verdict is not None]
    assert found.family == len(tested) == 4
    rank = sorted(tested).index(strict.estimate.p)
    assert strict.p >= min(1.0, (4 - rank) * raw) - 1e-12


def test_lower_may_be_better(tmp_path: Path) -> None:
    plan = make_plan(write_study(tmp_path, MANY.replace('better = "lower"', 'better = "lower"\nrole = "primary"')))
    length = next(each for each in analyse(plan, with_values(plan, MEANS, 0.01)) if each.name == "length")
    assert str(length.of(MAIN)[0].verdict) == "worse"
    assert length.family == 8


def test_half_of_the_runs_say_what_they_can(plan: Plan) -> None:
    curves = with_values(plan, MEANS, 0.01)
    some = {run: found for run, found in curves.items() if run.seed == 1 and run.arm not in ("strict", "clip")}
    found = middle(plan, some)
    assert math.isnan(found.of(MAIN)[0].estimate.value)
    assert str(found.of(MAIN)[0].verdict) == "unknown"
    assert found.fitted.freedom == 0
    empty = middle(plan, {})
    assert empty.values == {}
    assert all(math.isnan(effect.estimate.value) for effect in empty.effects)


def test_what_is_promised_is_what_is_found(plan: Plan) -> None:
    """The planned power of each difference is that of the runs with that spread."""
    promised = {(each.kind, each.name): each for each in planned_power(plan, 0.05)}
    found = middle(plan, with_values(plan, MEANS, 0.05))
    scale = 0.05 / found.fitted.deviation
    for effect in found.effects:
        power = promised[effect.kind, effect.name]
        assert effect.estimate.error * scale == pytest.approx(power.error)
        assert effect.detects * scale == pytest.approx(
            power.corrected if effect.verdict is not None else power.detects, rel=1e-6
        )


def test_what_was_planted_is_found_at_the_promised_rate(plan: Plan) -> None:
    power = next(each for each in planned_power(plan, 0.05) if each.kind == MAIN)
    means = {arm: 0.5 + power.corrected * (arm in ("clip", "dapo", "strict")) for arm in plan.arms}
    rates = {"clip": 0, "tokens": 0}
    trials = 150
    for trial in range(trials):
        found = middle(plan, with_values(plan, means, 0.05, seed=trial))
        for effect in found.of(MAIN):
            rates[effect.name] += str(effect.verdict).startswith("better")
    # Holm's method is at least as powerful as the promise, which is Bonferroni's.
    assert rates["clip"] / trials > 0.8 - 0.07
    assert rates["tokens"] / trials < 0.05
