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
from dapoctl.evaluation.compare.badges import Badge, badges
from dapoctl.evaluation.compare.cost import Cost, cost_of
from dapoctl.evaluation.statistics.intervals import (
    UNKNOWN,
    Interval,
    difference_drawn_anew,
    noise_interval,
    noise_variance,
    on_these_problems,
)
from dapoctl.evaluation.statistics.pass_at_k import Figure, figures, pass_at, powers, rights
from dapoctl.evaluation.statistics.significance import Significance, holm, mcnemar, minimal_detectable, sign_flip
from dapoctl.evaluation.stored import Evaluation, open_evaluation
from dapoctl.runs.difference import Difference, difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def label(place: int) -> str:
    """A, B, ... Z, A2, B2, ...: how the runs of a comparison are called."""
    turn, letter = divmod(place, len(ALPHABET))
    return ALPHABET[letter] + (str(turn + 1) if turn else "")


@dataclass(frozen=True)
class Measured:
    """One side of a comparison."""

    label: str
    evaluation: Evaluation
    figures: dict[str, Figure]
    """For problems drawn anew; empty when no problem was measured"""
    noise: Interval
    """Of avg@k, for these problems"""
    cost: Cost

    def figure(self, name: str) -> Figure:
        """A metric by its name; `avg`, `maj` and `pass` stand for `avg@k` and so on."""
        full = f"{name}@{self.evaluation.k}" if name in ("avg", "maj", "pass") else name
        return self.figures.get(full, Figure(math.nan, UNKNOWN))


@dataclass(frozen=True)
class Contrast:
    """Another side against the baseline, over the problems that both measured."""

    label: str
    problems: tuple[str, ...]
    difference: float
    """Of avg@k: the other's minus the baseline's"""
    interval: Interval
    """For problems drawn anew"""
    noise: Interval
    """For these problems"""
    test: Significance
    holm: float
    """p, corrected for the number of contrasts"""
    detectable: float
    """The smallest true difference that this set and k show four times of five"""
    higher: int
    """Problems of which the other solves more"""
    lower: int
    curve: dict[int, Figure]
    """Of pass@j by j: the difference"""
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
        """The largest difference from the baseline, of shares; 0 where there is none to speak of."""
        shares = [cell[0] / cell[1] for cell in self.cells if cell is not None]
        return max(abs(share - shares[0]) for share in shares) if self.cells[0] and shares else 0.0


@dataclass(frozen=True)
class Comparison:
    """Everything that `dapoctl compare` says."""

    set: str
    seed: int
    sides: tuple[Measured, ...]
    """The baseline first"""
    contrasts: tuple[Contrast, ...]
    """Of every side but the first"""
    missing: tuple[tuple[str, str], ...] = ()
    """What was asked for and is not there, and why"""

    @cached_property
    def matrix(self) -> tuple[Line, ...]:
        """Every problem that any side measured, those that differ most first."""
        return matrix_of([side.evaluation for side in self.sides])


def matrix_of(evaluations: Sequence[Evaluation]) -> tuple[Line, ...]:
    """Every problem that any evaluation measured, those that differ most from the first one first."""
    names = sorted({name for each in evaluations for name in each.scores})
    lines = [Line(name, tuple(_cell(each, name) for each in evaluations)) for name in names]
    return tuple(sorted(lines, key=lambda line: -line.apart))


def _cell(evaluation: Evaluation, problem: str) -> tuple[int, int] | None:
    score = evaluation.scores.get(problem)
    return None if score is None else (score.right, evaluation.k)


def select(
    lines: Sequence[Line], only_different: bool = False, solved: int | None = None, never: int | None = None
) -> list[Line]:
    """The lines that differ from the baseline, and those that side `solved` solves at least once and `never` never."""

    def wanted(line: Line) -> bool:
        ours = line.cells[solved] if solved is not None else None
        theirs = line.cells[never] if never is not None else None
        return (
            (not only_different or line.apart > 0)
            and (solved is None or (ours is not None and ours[0] > 0))
            and (never is None or (theirs is not None and theirs[0] == 0))
        )

    return [line for line in lines if wanted(line)]


def compare(root: Path, words: Sequence[str], set_: str, seed: int = 0) -> Comparison:
    """Compare the evaluations on `set_` that `words` (RUN or RUN@STEP) name, the baseline first.

    Raises:
        UserError: the baseline, or every other, has no readable evaluation, or one is named twice.
    """
    found, missing = [], []
    for word in words:
        try:
            evaluation = open_evaluation(root, word, set_)
            if not evaluation.rows:
                raise UserError(f"`{evaluation.folder}`: {'; '.join(evaluation.trouble)}")
        except UserError as error:
            if word == words[0]:
                raise
            missing.append((word, str(error)))
        else:
            found.append(evaluation)
    names = [evaluation.folder.resolve() for evaluation in found]
    twice = [evaluation.name for place, evaluation in enumerate(found) if names[place] in names[:place]]
    if twice:
        raise UserError(f"`{twice[0]}` is named twice; `RUN@STEP` names another evaluation of the same run")
    if len(found) < 2:
        raise UserError("\n".join([*(why for _, why in missing)] or ["name a run to compare the baseline with"]))
    return compare_evaluations(found, set_, seed, missing)


def compare_evaluations(
    found: Sequence[Evaluation],
    set_: str,
    seed: int = 0,
    missing: Sequence[tuple[str, str]] = (),
    check: Callable[[], object] = lambda: None,
) -> Comparison:
    """Compare evaluations that have been read, the baseline first; the same seed gives the same.

    Args:
        found: at least one
        set_: the set that they are on
        seed: of the bootstrap
        missing: what was asked for and is not there, and why
        check: called before each part of the work, which ends with what it raises
    """
    sides: list[Measured] = []
    for place, evaluation in enumerate(found):
        check()
        sides.append(measure(evaluation, label(place), seed))
    contrasts = []
    for side in sides[1:]:
        check()
        contrasts.append(contrast(sides[0], side, seed))
    corrected = holm([each.test.p for each in contrasts])
    adjusted = tuple(replace(each, holm=p) for each, p in zip(contrasts, corrected, strict=True))
    return Comparison(set_, seed, tuple(sides), adjusted, tuple(missing))


def measure(evaluation: Evaluation, name: str, seed: int) -> Measured:
    """One evaluation's figures."""
    scores = [*evaluation.scores.values()]
    found = figures(scores, evaluation.k, seed) if scores else {}
    noise = on_these_problems(rights(scores), evaluation.k) if scores else UNKNOWN
    return Measured(name, evaluation, found, noise, cost_of(evaluation))


def contrast(baseline: Measured, other: Measured, seed: int = 0) -> Contrast:
    """`other` against `baseline` over the problems that both measured and that have the same answer in both."""
    first, second = baseline.evaluation, other.evaluation
    names = tuple(
        name for name in first.scores if name in second.scores and first.answers[name] == second.answers[name]
    )
    ours, theirs = (rights([each.scores[name] for name in names]) for each in (first, second))
    unit = math.lcm(first.k, second.k)
    whole = theirs * (unit // second.k) - ours * (unit // first.k)
    apart = whole / unit
    variance = noise_variance(ours, first.k) + noise_variance(theirs, second.k)
    return Contrast(
        label=other.label,
        problems=names,
        difference=float(apart.mean()) if names else math.nan,
        interval=difference_drawn_anew(apart, seed),
        noise=noise_interval(float(apart.mean()), variance) if names else UNKNOWN,
        test=_test(whole, first.k == second.k == 1, seed),
        holm=math.nan,
        detectable=minimal_detectable(apart, 1 / unit),
        higher=int((whole > 0).sum()),
        lower=int((whole < 0).sum()),
        curve=_curve(ours, theirs, first.k, second.k, seed),
        badges=tuple(badges(first, second, (baseline.label, other.label))),
        config=_config(first, second),
    )


def _test(whole: NDArray[np.int64], once: bool, seed: int) -> Significance:
    if once:
        return mcnemar(int((whole < 0).sum()), int((whole > 0).sum()))
    return sign_flip(whole, seed)


def _curve(ours: NDArray[np.int64], theirs: NDArray[np.int64], k: int, other_k: int, seed: int) -> dict[int, Figure]:
    if not len(ours):
        return {}
    found = {}
    for j in powers(min(k, other_k)):
        apart = pass_at(theirs, other_k, j) - pass_at(ours, k, j)
        found[j] = Figure(float(apart.mean()), difference_drawn_anew(apart, seed))
    return found


KIND = "eval"
"""Kind of a run that only evaluates a model: all of its configuration but the model is without meaning"""


def _config(first: Evaluation, second: Evaluation) -> Difference:
    found = difference(first.run, second.run)
    if KIND not in (first.run.spec.get("kind"), second.run.spec.get("kind")):
        return found
    keys = {key: values for key, values in found.keys.items() if key.startswith("model.")}
    return replace(found, keys=keys)
