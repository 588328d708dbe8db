"""A baseline and other evaluations of the same set, side by side and paired by problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dapoctl.errors import UserError
from dapoctl.evaluation.compare.badges import Badge, badges, label
from dapoctl.evaluation.compare.cautions import cautions
from dapoctl.evaluation.compare.cost import Cost, cost_of
from dapoctl.evaluation.statistics.intervals import (
    UNKNOWN,
    Interval,
    agreeing,
    avg_noise_interval,
    difference_intervals,
    noise_interval,
    noise_variance,
)
from dapoctl.evaluation.statistics.pass_at_k import Figure, figures, pass_at, powers, right_counts
from dapoctl.evaluation.statistics.power import ALPHA, minimal_detectable
from dapoctl.evaluation.statistics.significance import Significance, holm, mcnemar, sign_flip, sign_flip_row
from dapoctl.evaluation.stored import Evaluation, open_evaluation
from dapoctl.runs.difference import Difference, difference

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Measured:
    """One side of a comparison."""

    label: str
    evaluation: Evaluation
    figures: dict[str, Figure]
    """With intervals over problems; empty if no problem was measured"""
    noise: Interval
    """Of avg@k, for sampling noise"""
    cost: Cost

    def figure(self, name: str) -> Figure:
        """A metric by its name; `avg`, `maj` and `pass` stand for `avg@k` and so on."""
        full = f"{name}@{self.evaluation.k}" if name in ("avg", "maj", "pass") else name
        return self.figures.get(full, Figure(math.nan, UNKNOWN))


@dataclass(frozen=True)
class Contrast:
    """Another side compared with the baseline, over the problems that both measured."""

    label: str
    problems: tuple[str, ...]
    difference: float
    """Of avg@k: the other's minus the baseline's"""
    interval: Interval
    """Over problems; it contains 0 exactly if the test's p is at least 0.05"""
    noise: Interval
    """For sampling noise"""
    test: Significance
    holm: float
    """p, corrected for the number of contrasts"""
    detectable: float
    """The minimum detectable effect of this set and k, with 80% power"""
    higher: int
    """Problems that the other side solves more often"""
    lower: int
    curve: dict[int, Figure]
    """The difference of pass@j, by j, each with an interval of its own"""
    curve_test: Significance
    """One test for all j"""
    badges: tuple[Badge, ...]
    config: Difference
    """How the runs' configurations differ"""


@dataclass(frozen=True)
class Line:
    """A problem in the matrix of problems and runs."""

    problem: str
    cells: tuple[tuple[int, int] | None, ...]
    """(c, k) of each side; None where it was not measured"""

    @property
    def apart(self) -> float:
        """The largest difference from the baseline, of shares; 0 if the baseline was not measured."""
        shares = [cell[0] / cell[1] for cell in self.cells if cell is not None]
        return max(abs(share - shares[0]) for share in shares) if self.cells[0] and shares else 0.0


@dataclass(frozen=True)
class Comparison:
    """Everything that `dapoctl compare` reports."""

    set: str
    seed: int
    sides: tuple[Measured, ...]
    """The baseline first"""
    contrasts: tuple[Contrast, ...]
    """One for every side but the first"""
    missing: tuple[tuple[str, str], ...] = ()
    """Evaluations that were requested and are not available, and why"""
    cautions: tuple[str, ...] = ()
    """Sentences on what the figures do not say"""

    @cached_property
    def matrix(self) -> tuple[Line, ...]:
        """Every problem that any side measured, those that differ most first."""
        return matrix_of([side.evaluation for side in self.sides])


def matrix_of(evaluations: Sequence[Evaluation]) -> tuple[Line, ...]:
    """Every problem that any evaluation measured, those that differ most from the first one first."""
    names = sorted({name for evaluation in evaluations for name in evaluation.scores})
    lines = [Line(name, tuple(_cell(evaluation, name) for evaluation in evaluations)) for name in names]
    return tuple(sorted(lines, key=lambda line: -line.apart))


def _cell(evaluation: Evaluation, problem: str) -> tuple[int, int] | None:
    score = evaluation.scores.get(problem)
    return None if score is None else (score.right, evaluation.k)


def select(
    lines: Sequence[Line], only_different: bool = False, solved: int | None = None, never: int | None = None
) -> list[Line]:
    """The lines that fit every given filter: different from the baseline, solved by side `solved`, never by side `never`."""

    def wanted(line: Line) -> bool:
        ours = line.cells[solved] if solved is not None else None
        theirs = line.cells[never] if never is not None else None
        return (
            (not only_different or line.apart > 0)
            and (solved is None or (ours is not None and ours[0] > 0))
            and (never is None or (theirs is not None and theirs[0] == 0))
        )

    return [line for line in lines if wanted(line)]


def compare(root: Path, names: Sequence[str], set_: str, seed: int = 0) -> Comparison:
    """Compare the evaluations on `set_` that `names` (RUN or RUN@STEP) refer to, the baseline first.

    Raises:
        UserError: the baseline, or every other, has no readable evaluation, or one is named twice.
    """
    evaluations, missing = [], []
    for name in names:
        try:
            evaluation = open_evaluation(root, name, set_)
            if not evaluation.rows:
                raise UserError(f"`{evaluation.folder}`: {'; '.join(evaluation.trouble)}")
        except UserError as error:
            if name == names[0]:
                raise
            missing.append((name, str(error)))
        else:
            evaluations.append(evaluation)
    folders = [evaluation.folder.resolve() for evaluation in evaluations]
    repeated = [evaluation.name for index, evaluation in enumerate(evaluations) if folders[index] in folders[:index]]
    if repeated:
        raise UserError(f"`{repeated[0]}` is named twice; `RUN@STEP` names another evaluation of the same run")
    if len(evaluations) < 2:
        raise UserError("\n".join([*(why for _, why in missing)] or ["name a run to compare the baseline with"]))
    return compare_evaluations(evaluations, set_, seed, missing)


def compare_evaluations(
    evaluations: Sequence[Evaluation],
    set_: str,
    seed: int = 0,
    missing: Sequence[tuple[str, str]] = (),
    check: Callable[[], object] = lambda: None,
) -> Comparison:
    """Compare evaluations that have been read, the baseline first; the same seed gives the same result.

    Args:
        evaluations: at least one
        set_: the set that they are on
        seed: of the bootstrap
        missing: evaluations that were requested and are not available, and why
        check: called before each part of the work; what it raises ends the comparison
    """
    sides: list[Measured] = []
    for index, evaluation in enumerate(evaluations):
        check()
        sides.append(measure(evaluation, label(index), seed))
    contrasts = []
    for side in sides[1:]:
        check()
        contrasts.append(contrast(sides[0], side, seed))
    corrected = holm([one.test.p for one in contrasts])
    adjusted = tuple(replace(one, holm=p) for one, p in zip(contrasts, corrected, strict=True))
    return Comparison(set_, seed, tuple(sides), adjusted, tuple(missing), tuple(cautions(evaluations, set_)))


def measure(evaluation: Evaluation, name: str, seed: int) -> Measured:
    """One evaluation's figures."""
    scores = [*evaluation.scores.values()]
    by_name = figures(scores, evaluation.k, seed) if scores else {}
    noise = avg_noise_interval(right_counts(scores), evaluation.k) if scores else UNKNOWN
    return Measured(name, evaluation, by_name, noise, cost_of(evaluation))


def contrast(baseline: Measured, other: Measured, seed: int = 0) -> Contrast:
    """`other` against `baseline` over the problems that both measured and that have the same answer in both."""
    first, second = baseline.evaluation, other.evaluation
    names = tuple(
        name for name in first.scores if name in second.scores and first.answers[name] == second.answers[name]
    )
    ours, theirs = (right_counts([side.scores[name] for name in names]) for side in (first, second))
    unit = math.lcm(first.k, second.k)
    whole = theirs * (unit // second.k) - ours * (unit // first.k)
    apart = whole / unit
    test = _test(whole, first.k == second.k == 1, seed)
    (interval,) = difference_intervals(apart[:, None], [min(first.k, second.k)], seed)
    curve, curve_test = _curve(ours, theirs, first.k, second.k, seed)
    variance = noise_variance(ours, first.k) + noise_variance(theirs, second.k)
    return Contrast(
        label=other.label,
        problems=names,
        difference=float(apart.mean()) if names else math.nan,
        interval=agreeing(interval, float(apart.mean()), test.p < ALPHA) if names else UNKNOWN,
        noise=noise_interval(float(apart.mean()), variance) if names else UNKNOWN,
        test=test,
        holm=math.nan,
        detectable=minimal_detectable(ours, first.k, second.k),
        higher=int((whole > 0).sum()),
        lower=int((whole < 0).sum()),
        curve=curve,
        curve_test=curve_test,
        badges=tuple(badges(first, second, (baseline.label, other.label))),
        config=_config(first, second),
    )


def _test(whole: NDArray[np.int64], once: bool, seed: int) -> Significance:
    if once:
        return mcnemar(int((whole < 0).sum()), int((whole > 0).sum()))
    return sign_flip(whole, seed)


def _curve(
    ours: NDArray[np.int64], theirs: NDArray[np.int64], k: int, other_k: int, seed: int
) -> tuple[dict[int, Figure], Significance]:
    """(the difference of pass@j by j, one test for all of them)."""
    if not len(ours):
        return {}, Significance(1.0, "none")
    least = min(k, other_k)
    by_j = {j: pass_at(theirs, other_k, j) - pass_at(ours, k, j) for j in powers(least)}
    apart = np.stack([*by_j.values()], axis=1)
    intervals = difference_intervals(apart, [least - j + 1 for j in by_j], seed)
    figures_by_j = {j: Figure(float(by_j[j].mean()), interval) for j, interval in zip(by_j, intervals, strict=True)}
    return figures_by_j, sign_flip_row(apart, seed)


def _config(first: Evaluation, second: Evaluation) -> Difference:
    change = difference(first.run, second.run)
    if first.of_run and second.of_run:
        return change
    # Of a model that no run trained, only the model is meaningful in the configuration.
    keys = {key: values for key, values in change.keys.items() if key.startswith("model.")}
    return replace(change, keys=keys)
