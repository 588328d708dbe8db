"""What a study's finished runs say of each outcome: effects of factors, ladder, arms against their baselines, with verdicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dapoctl.evaluation.statistics.cells import CellMeans, Estimate
from dapoctl.evaluation.statistics.factorial import Cell, interaction, ladder, leave_one_out, main_effect
from dapoctl.evaluation.statistics.power import ALPHA
from dapoctl.evaluation.statistics.seed_power import detects, standard_error
from dapoctl.evaluation.statistics.significance import holm
from dapoctl.evaluation.statistics.verdict import Verdict, judge
from dapoctl.study.outcomes import Curves, Value, last_of, value_of
from dapoctl.study.plan import Plan, PlannedRun
from dapoctl.study.schema import Outcome

MAIN, INTERACTION, LADDER, LEAVE_OUT, ARM = "main effect", "interaction", "ladder", "leave one out", "arm"
TESTED = (MAIN, ARM)
"""What is tested and corrected for; interactions, ladder and leave-one-out describe the same cells again"""


@dataclass(frozen=True)
class Effect:
    """One difference of an outcome."""

    kind: str
    """MAIN, INTERACTION, LADDER, LEAVE_OUT or ARM"""
    name: str
    """The factor, the pair of factors, or the arm"""
    against: str
    """What it is a difference from"""
    estimate: Estimate
    weights: Mapping[str, float] = field(repr=False)
    p: float = math.nan
    """Adjusted by Holm's method within the family; of what is not tested, not adjusted"""
    verdict: Verdict | None = None
    """None for what is not tested"""
    detects: float = math.nan
    """The minimum detectable effect, of the seeds that there are and the spread that was found"""


@dataclass(frozen=True)
class Outcomes:
    """Everything about one outcome."""

    name: str
    outcome: Outcome
    values: Mapping[PlannedRun, Value]
    fitted: CellMeans
    effects: tuple[Effect, ...] = ()
    horizon: float = math.inf
    """For a threshold, how long every run was watched"""
    family: int = 1
    """Tests that were corrected for each other"""

    @property
    def title(self) -> str:
        """For tables."""
        return self.outcome.title or self.name

    def censored(self, arm: str) -> int:
        """Runs of an arm that did not reach the threshold."""
        return sum(value.censored for run, value in self.values.items() if run.arm == arm)

    def of(self, kind: str) -> list[Effect]:
        """The effects of a kind."""
        return [effect for effect in self.effects if effect.kind == kind]


def analyse(plan: Plan, curves: Mapping[PlannedRun, Curves]) -> list[Outcomes]:
    """Every outcome of the study, from the runs that are finished.

    Tests of primary outcomes are one family, whose p are adjusted together; those of other roles are another one each.
    """
    found = [_outcomes(plan, name, outcome, curves) for name, outcome in plan.study.outcome.items()]
    adjusted: dict[str, Outcomes] = {}
    for role in dict.fromkeys(each.outcome.role for each in found):
        adjusted |= {each.name: each for each in _corrected([each for each in found if each.outcome.role == role])}
    return [adjusted[each.name] for each in found]


def _outcomes(plan: Plan, name: str, outcome: Outcome, curves: Mapping[PlannedRun, Curves]) -> Outcomes:
    horizon = min((last_of(outcome, found) for found in curves.values()), default=math.inf)
    place = {arm: number for number, arm in enumerate(plan.arms)}
    ordered = sorted((run for run in plan.runs if run in curves), key=lambda run: place[run.arm])
    values = {run: value_of(outcome, curves[run], horizon) for run in ordered}
    rows = [(run.arm, run.seed, value.value) for run, value in values.items()]
    fitted = CellMeans(rows, paired=plan.study.design.paired)
    effects = tuple(
        Effect(kind, label, against, fitted.contrast(weights), weights)
        for kind, label, against, weights in contrasts(plan)
    )
    return Outcomes(name, outcome, values, fitted, effects, horizon)


def contrasts(plan: Plan) -> Iterator[tuple[str, str, str, dict[str, float]]]:
    """(kind, name, against what, weights) of every difference that the study is about."""
    cells: dict[str, Cell] = {name: arm.factors for name, arm in plan.arms.items() if arm.factors is not None}
    factors = plan.study.design.factorial
    for factor in factors:
        yield MAIN, factor, "off", main_effect(cells, factor)
    for first, second in itertools.combinations(factors, 2) if not plan.study.design.half else ():
        yield INTERACTION, f"{first} x {second}", "", interaction(cells, first, second)
    for factor, weights in ladder(cells, factors):
        yield LADDER, factor, "the step before", weights
    for factor, weights in leave_one_out(cells, factors):
        yield LEAVE_OUT, factor, f"{plan.study.design.all} without it", weights
    for name, arm in plan.arms.items():
        if arm.factors is None and arm.against:
            yield ARM, name, arm.against, {name: 1.0, arm.against: -1.0}


def _corrected(family: Sequence[Outcomes]) -> list[Outcomes]:
    tested = [
        (each.name, place)
        for each in family
        for place, effect in enumerate(each.effects)
        if effect.kind in TESTED and math.isfinite(effect.estimate.p)
    ]
    by_name = {each.name: each for each in family}
    raw = [by_name[name].effects[place].estimate.p for name, place in tested]
    adjusted = dict(zip(tested, holm(raw), strict=True))
    count = max(1, len(tested))
    return [
        replace(
            each,
            family=count,
            effects=tuple(
                _judged(each, effect, adjusted.get((each.name, place), effect.estimate.p), count)
                for place, effect in enumerate(each.effects)
            ),
        )
        for each in family
    ]


def _judged(outcomes: Outcomes, effect: Effect, p: float, count: int) -> Effect:
    outcome, tested = outcomes.outcome, effect.kind in TESTED
    alpha = ALPHA / count if tested else ALPHA
    smallest = detects(effect.estimate.error, effect.estimate.freedom, alpha)
    if not tested:
        return replace(effect, p=p, detects=smallest)
    verdict = judge(effect.estimate, p, outcome.smallest, outcome.better == "higher")
    return replace(effect, p=p, verdict=verdict, detects=smallest)


# Before there are runs: what the plan would detect.


@dataclass(frozen=True)
class Power:
    """What a planned difference would detect."""

    kind: str
    name: str
    error: float
    """Its standard error"""
    detects: float
    """At 5%, on its own"""
    corrected: float
    """After the correction for all tests of the family"""


def planned_power(plan: Plan, deviation: float, freedom: float | None = None) -> list[Power]:
    """What each planned difference detects, if the runs of an arm differ by `deviation`.

    Args:
        freedom: degrees of freedom of the pooled variance; by default those of the whole plan
    """
    seeds = {arm: len(plan.seeds(arm)) for arm in plan.arms}
    degrees = float(sum(seeds.values()) - len(seeds)) if freedom is None else freedom
    planned = [*contrasts(plan)]
    roles = [outcome.role for outcome in plan.study.outcome.values()]
    count = max(1, sum(kind in TESTED for kind, *_ in planned) * roles.count("primary"))
    found = []
    for kind, name, _, weights in planned:
        error = standard_error(deviation, weights, seeds)
        alone = detects(error, degrees)
        together = detects(error, degrees, ALPHA / count) if kind in TESTED else math.nan
        found.append(Power(kind, name, error, alone, together))
    return found


def spread(outcomes: Outcomes, arm: str) -> CellMeans:
    """How much the runs of one arm differ, from them alone."""
    return CellMeans([(run.arm, run.seed, value.value) for run, value in outcomes.values.items() if run.arm == arm])


def read_all(runs: Mapping[PlannedRun, Path]) -> dict[PlannedRun, Curves]:
    """The curves of finished runs."""
    from dapoctl.study.outcomes import read_curves

    return {run: read_curves(directory) for run, directory in runs.items()}
