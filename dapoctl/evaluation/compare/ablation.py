"""Which component matters: sets of components against a baseline, over seeds and problems.

Runs whose configurations differ only in the seed and the name form one arm. The figures of an arm are means over its seeds and
over the problems that every run of the arm and of the baseline measured.

The interval of a difference accounts for the choice of both problems and seeds. Let x[s, i] be the share of right responses of
the run with seed s to problem i. Problems and seeds are crossed, as in a two-way layout with random effects, so (Cameron,
Gelbach and Miller 2011, "Robust inference with multiway clustering", equation 2.11)

    V = V_problems + sum over both arms of max(0, V_seeds - V_both)

    V_problems = variance over i of the paired differences (means over seeds) / N     with N - 1 degrees of freedom
    V_seeds    = variance over s of an arm's means over problems / S                   with S - 1
    V_both     = residual mean square of an arm's table / (S N), which is part of both others

which Student's t makes an interval, with degrees of freedom by Satterthwaite (1946, Biometrics Bulletin 2). Where few problems
are ever solved such an interval covers 79 to 91%. So the problems' part is the interval that `dapoctl compare` has, with unseen
problems, and what seeds add to the half-width of Student's t is added to either side of it, in squares (as in Zou and Donner
2008, Statistics in Medicine 27). p is that of Student's t with the half-width on the side of 0, so it is below 0.05 exactly
where the interval excludes 0. `python -m experiments.bench.coverage` prints what these intervals cover.

Two runs of the same seed are not treated as a pair: if they are correlated, the interval is wider than necessary. An arm with
one seed has no information about other seeds: the interval then omits that part, and `Effect.seeds` is false.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dapoctl.errors import UserError
from dapoctl.evaluation.compare.badges import Badge, badges
from dapoctl.evaluation.statistics.intervals import (
    DRAWS,
    TAIL,
    UNKNOWN,
    Interval,
    difference_intervals,
    student_cdf,
    student_quantile,
)
from dapoctl.evaluation.statistics.pass_at_k import pass_at, right_counts
from dapoctl.evaluation.statistics.significance import holm
from dapoctl.evaluation.stored import Evaluation
from dapoctl.runs.difference import Difference, difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

OF_A_SEED = frozenset({"seed"})
METRICS = ("avg", "pass", "maj")
LABELS = ("the baseline", "the row")


@dataclass(frozen=True)
class Arm:
    """Evaluations, at the same step, of runs that differ only in the seed: one for each seed."""

    evaluations: tuple[Evaluation, ...]

    @property
    def first(self) -> Evaluation:
        """The first evaluation, which represents the arm."""
        return self.evaluations[0]

    @property
    def seeds(self) -> tuple[Any, ...]:
        """The seeds, in order."""
        return tuple(seed_of(evaluation) for evaluation in self.evaluations)


@dataclass(frozen=True)
class Effect:
    """The difference of one metric from the baseline."""

    value: float
    """The arm's mean"""
    difference: float
    interval: Interval
    p: float
    """Two-sided; below 0.05 exactly where the interval excludes 0"""
    holm: float
    """Corrected for the number of arms"""
    seeds: bool
    """Whether the interval accounts for seeds: both arms have several"""


@dataclass(frozen=True)
class Row:
    """An arm in the matrix."""

    arm: Arm
    change: Difference
    """From the baseline's configuration to the arm's"""
    problems: int
    effects: dict[str, Effect]
    """By metric: avg, pass (at the smallest k of all), maj"""
    badges: tuple[Badge, ...]
    """Differences in how the baseline's evaluations and the arm's were made"""


@dataclass(frozen=True)
class Ablation:
    """Everything that `dapoctl ablation` reports."""

    set: str
    baseline: Arm
    k: int
    rows: tuple[Row, ...]
    """The baseline's own row first"""
    left_out: tuple[tuple[str, str], ...] = ()
    """Runs that were requested and do not count, and why"""


def seed_of(evaluation: Evaluation) -> Any:
    """The seed of the run."""
    return evaluation.run.config.get("seed")


def ablate(
    evaluations: Sequence[Evaluation], baseline: Evaluation, set_: str, left_out: Sequence[tuple[str, str]] = ()
) -> Ablation:
    """Group `evaluations` over seeds, and compare each arm with that of `baseline`, one of the evaluations.

    A run that was evaluated before its training, or at another step than the baseline although both have the same number of
    steps, is no arm: what differs would be the training, not the components.

    Raises:
        UserError: the baseline was evaluated before its training, or there is no other arm.
    """
    if baseline.of_run and not baseline.trained:
        raise UserError(
            f"the baseline {baseline.name} was evaluated before its training; take a run that was evaluated after it"
        )
    unlike = [(each.name, why) for each in evaluations if (why := _no_arm(each, baseline))]
    names = {name for name, _ in unlike}
    evaluations = [each for each in evaluations if each.name not in names]
    arms, superseded = group(evaluations, baseline)
    own = next(arm for arm in arms if baseline in arm.evaluations)
    others = [arm for arm in arms if arm is not own]
    if not others:
        why = "".join(f"; left out: {name}: {reason}" for name, reason in unlike)
        raise UserError(f"every run has the baseline's configuration: there is nothing to compare it with{why}")
    k = min(evaluation.k for evaluation in evaluations)
    rows = [_row(own, arm, k) for arm in [own, *others]]
    for name in METRICS:
        corrected = holm([row.effects[name].p if name in row.effects else 1.0 for row in rows[1:]])
        for row, p in zip(rows[1:], corrected, strict=True):
            if name in row.effects:
                row.effects[name] = replace(row.effects[name], holm=p)
    return Ablation(set_, own, k, tuple(rows), (*left_out, *unlike, *superseded))


def _no_arm(evaluation: Evaluation, baseline: Evaluation) -> str:
    """Why an evaluation is not to be compared with the baseline's; empty if it is."""
    if evaluation.of_run and not evaluation.trained:
        return "evaluated at step 0, before its training"
    same_length = evaluation.run.config.get("steps") == baseline.run.config.get("steps")
    if evaluation.step != baseline.step and same_length and evaluation.of_run:
        return f"evaluated at step {evaluation.step}, the baseline at step {baseline.step}; RUN@STEP names another step"
    return ""


def group(
    evaluations: Sequence[Evaluation], baseline: Evaluation | None = None
) -> tuple[list[Arm], list[tuple[str, str]]]:
    """(arms in the order of their first run, runs that another of the same seed stands for, and which one).

    Of several runs of one seed the latest counts, but `baseline` always does.
    """
    groups: list[list[Evaluation]] = []
    for evaluation in evaluations:
        own = next((members for members in groups if alike(members[0], evaluation)), None)
        groups.append([evaluation]) if own is None else own.append(evaluation)
    arms, superseded = [], []
    for members in groups:
        newest: dict[str, Evaluation] = {}
        for evaluation in sorted(members, key=lambda member: member.run.id):
            seed = str(seed_of(evaluation))
            if (older := newest.get(seed)) is not None and older is baseline:
                superseded.append((evaluation.name, f"the baseline {older.name} is a run of the same seed"))
                continue
            if older is not None:
                superseded.append((older.name, f"{evaluation.name} is a later run of the same seed"))
            newest[seed] = evaluation
        arms.append(Arm(tuple(newest[seed] for seed in sorted(newest, key=lambda text: (len(text), text)))))
    return arms, superseded


def alike(first: Evaluation, second: Evaluation) -> bool:
    """Whether two runs differ only in the seed, and were evaluated at the same step."""
    change = difference(first.run, second.run)
    files = any(name.startswith("file of ") for name in change.versions)
    components = change.only_first or change.only_second
    return first.step == second.step and not components and not files and change.keys.keys() <= OF_A_SEED


def _row(own: Arm, arm: Arm, k: int) -> Row:
    both = (*own.evaluations, *arm.evaluations)
    answers = own.first.answers
    names = [
        name
        for name in own.first.scores
        if all(name in one.scores and one.answers[name] == answers[name] for one in both)
    ]
    ours, theirs = _tables(own, names, k), _tables(arm, names, k)
    responses = {"avg": min(evaluation.k for evaluation in both), "pass": 1, "maj": 1}
    effects = {name: effect(ours[name], theirs[name], responses[name]) for name in METRICS} if names else {}
    if arm is own:
        effects = {name: replace(value, interval=UNKNOWN, p=math.nan) for name, value in effects.items()}
    unlike = {badge.kind: badge for one in both for badge in badges(own.first, one, LABELS)}
    return Row(arm, difference(own.first.run, arm.first.run), len(names), effects, tuple(unlike.values()))


def _tables(arm: Arm, names: Sequence[str], k: int) -> dict[str, NDArray[np.float64]]:
    """Each metric's values [seeds, problems]."""
    scores = [[evaluation.scores[name] for name in names] for evaluation in arm.evaluations]
    right = [right_counts(of_seed) for of_seed in scores]
    ks = [evaluation.k for evaluation in arm.evaluations]
    return {
        "avg": np.stack([counts / own for counts, own in zip(right, ks, strict=True)]),
        "pass": np.stack([pass_at(counts, own, k) for counts, own in zip(right, ks, strict=True)]),
        "maj": np.array([[score.majority for score in of_seed] for of_seed in scores]),
    }


def effect(baseline: NDArray[np.float64], other: NDArray[np.float64], responses: int = 1, draws: int = DRAWS) -> Effect:
    """The difference of two arms' means, each from a table [seeds, problems] with the problems in the same order.

    The arms may have different numbers of seeds.

    Args:
        baseline: between 0 and 1
        other: likewise
        responses: the number of responses that each value is a share of; 1 for values that are 0 or 1
        draws: of weights, for the problems' part of the interval
    """
    apart = other.mean(axis=0) - baseline.mean(axis=0)
    value, mean, problems = float(other.mean()), float(apart.mean()), len(apart)
    several = len(baseline) > 1 and len(other) > 1
    if problems < 2:
        return Effect(value, mean, UNKNOWN, math.nan, math.nan, several)
    of_problems = float(apart.var(ddof=1)) / problems
    parts = [(of_problems, problems - 1), *(_of_seeds(table) for table in (baseline, other))]
    variance = sum(part for part, _ in parts)
    freedom: float = problems - 1
    if variance > 0:
        freedom = max(1.0, variance**2 / sum(part**2 / degrees for part, degrees in parts if part > 0))
    quantile = student_quantile(1 - TAIL, freedom)
    added = math.sqrt(max(0.0, quantile**2 * variance - student_quantile(1 - TAIL, problems - 1) ** 2 * of_problems))
    seen = responses * min(len(baseline), len(other))
    (within,) = difference_intervals(apart[:, None], [seen], draws=draws)
    below, above = math.hypot(mean - within.low, added), math.hypot(within.high - mean, added)
    p = 2 * student_cdf(-abs(mean) / (below if mean > 0 else above) * quantile, freedom)
    return Effect(value, mean, Interval(mean - below, mean + above), p, math.nan, several)


def _of_seeds(table: NDArray[np.float64]) -> tuple[float, int]:
    """(variance that seeds add to an arm's mean beyond the problems' part, degrees of freedom)."""
    seeds, problems = table.shape
    if seeds < 2 or problems < 2:
        return 0.0, 1
    means = table.mean(axis=1)
    residuals = table - means[:, None] - table.mean(axis=0) + table.mean()
    both = float((residuals**2).sum()) / ((seeds - 1) * (problems - 1)) / (seeds * problems)
    return max(0.0, float(means.var(ddof=1)) / seeds - both), seeds - 1
