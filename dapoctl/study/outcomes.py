"""What a run's metrics say of an outcome: a value at a step, an area, the way to a threshold, a value at equal cost.

A run that does not reach a threshold counts as long as all runs lasted, so that the mean is the restricted mean time (Royston
and Parmar 2013, BMC Medical Research Methodology 13): it needs no assumption on what would have come later, and how many runs
are so is told beside it. Interpolation is linear.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from dapoctl.evaluation.compare.cost import step_cost
from dapoctl.evaluation.summary import COMMAND
from dapoctl.evaluation.writer import is_complete, read_summary
from dapoctl.runs.files import number_or_nan
from dapoctl.runs.summary import EVALS, metric_rows
from dapoctl.study.schema import Outcome

HOUR = 3600.0


@dataclass(frozen=True)
class Curves:
    """The metrics of a run by step, and what it had cost by then."""

    series: Mapping[str, Sequence[tuple[int, float]]]
    """(step, value) of each metric"""
    steps: Sequence[int]
    """Those of which the cost is known, 0 first"""
    tokens: Sequence[float]
    """Generated for training up to each of them"""
    hours: Sequence[float]
    """Of training up to each of them"""

    def spent(self, count: str) -> Sequence[float]:
        """What was spent up to each of `steps`, in units of `count`."""
        return {"steps": [float(step) for step in self.steps], "tokens": self.tokens, "hours": self.hours}[count]


@dataclass(frozen=True)
class Value:
    """A run's value of an outcome."""

    value: float
    """Not-a-number where the run does not tell it"""
    censored: bool = False
    """The threshold was not reached: the value is how long was waited"""
    why: str = ""
    """Why it is not a number"""


def read_curves(directory: Path) -> Curves:
    """The curves of a run, with what it was asked after training; rows that a resumed run wrote again count once."""
    found = curves_of(metric_rows(directory))
    series = {name: [*points] for name, points in found.series.items()}
    for step, metrics in _asked_later(directory):
        for name, value in metrics.items():
            # What the run measured itself stays: a set of that name asked again is another figure.
            if name not in found.series:
                series.setdefault(name, []).append((step, value))
    return replace(found, series={name: sorted(points) for name, points in series.items()})


def _asked_later(directory: Path) -> Iterator[tuple[int, Mapping[str, float]]]:
    """(step, metrics) of complete evaluations by the command."""
    for path in sorted((directory / EVALS).glob("*/step_*")):
        summary = read_summary(path)
        if summary is None or summary.get("made") != COMMAND or not is_complete(summary):
            continue
        values = summary.get("metrics")
        if isinstance(values, dict):
            yield int(summary["step"]), {str(name): number_or_nan(value) for name, value in values.items()}


def curves_of(rows: Iterable[Mapping[str, Any]]) -> Curves:
    """The same of the rows of `metrics.jsonl`."""
    latest: dict[int, Mapping[str, float]] = {}
    for row in rows:
        latest[row["step"]] = row["metrics"]
    series: dict[str, list[tuple[int, float]]] = {}
    for step in sorted(latest):
        for name, value in latest[step].items():
            series.setdefault(name, []).append((step, value))
    trained = [step for step in sorted(latest) if step]
    costs = [step_cost(latest[step]) for step in trained]
    seconds, tokens = ([0.0, *accumulate(cost[place] for cost in costs)] for place in (0, 1))
    return Curves(series, [0, *trained], tokens, [total / HOUR for total in seconds])


def value_of(outcome: Outcome, curves: Curves, horizon: float = math.inf) -> Value:
    """A run's value of an outcome.

    Args:
        horizon: for a threshold, how long is waited at most, in units of `count`: as long as every run lasted
    """
    points = [(step, value) for step, value in curves.series.get(outcome.metric, ()) if math.isfinite(value)]
    if not points:
        return Value(math.nan, why=f"the run has no `{outcome.metric}`")
    if outcome.how == "at":
        return _at(points, outcome.at, outcome.over)
    if outcome.how == "area":
        return _area(points, *(outcome.area or (0, 0)))
    if outcome.how == "reach":
        return _reach(outcome, points, curves, horizon)
    if outcome.how == "when":
        return _when(outcome, points, curves)
    count, budget = ("tokens", outcome.at_tokens) if outcome.how == "at_tokens" else ("hours", outcome.at_hours)
    step = _crossing(curves.steps, curves.spent(count), float(budget or 0))
    if step is None:
        return Value(math.nan, why=f"the run ended before {budget:g} {count}")
    return Value(_interpolated(points, step))


def last_of(outcome: Outcome, curves: Curves) -> float:
    """How long a run was watched for a threshold, in units of `count`."""
    spent = curves.spent(outcome.count)
    return float(spent[-1]) if spent else 0.0


def _at(points: Sequence[tuple[int, float]], at: int | str | None, over: int) -> Value:
    if at != "last" and points[-1][0] < int(at or 0):
        return Value(math.nan, why=f"the run has it up to step {points[-1][0]} only")
    until = [value for step, value in points if at == "last" or step <= int(at or 0)]
    if len(until) < over:
        return Value(math.nan, why=f"there are {len(until)} values up to there, and the mean is over {over}")
    if over == 1 and at != "last" and points[len(until) - 1][0] != at:
        return Value(math.nan, why=f"it was not measured at step {at}")
    return Value(math.fsum(until[-over:]) / over)


def _area(points: Sequence[tuple[int, float]], first: int, last: int) -> Value:
    if points[0][0] > first or points[-1][0] < last:
        return Value(math.nan, why=f"the run has it from step {points[0][0]} to {points[-1][0]} only")
    inner = [(step, value) for step, value in points if first < step < last]
    ends = [(float(step), _interpolated(points, step)) for step in (first, last)]
    path = [ends[0], *((float(step), value) for step, value in inner), ends[1]]
    total = math.fsum((after - before) * (low + high) / 2 for (before, low), (after, high) in pairwise(path))
    return Value(total / (last - first))


def _reach(outcome: Outcome, points: Sequence[tuple[int, float]], curves: Curves, horizon: float) -> Value:
    spent = dict(zip(curves.steps, curves.spent(outcome.count), strict=True))
    values = [value for _, value in points]
    threshold, wait = float(outcome.reach or 0), min(horizon, last_of(outcome, curves))
    for place in range(outcome.over, len(points) + 1):
        mean = math.fsum(values[place - outcome.over : place]) / outcome.over
        if mean >= threshold:
            cost = spent.get(points[place - 1][0], math.nan)
            return Value(cost) if cost <= wait else Value(wait, censored=True)
    return Value(wait, censored=True)


def _when(outcome: Outcome, points: Sequence[tuple[int, float]], curves: Curves) -> Value:
    other = [(step, value) for step, value in curves.series.get(outcome.when or "", ()) if math.isfinite(value)]
    if not other:
        return Value(math.nan, why=f"the run has no `{outcome.when}`")
    level = float(outcome.level or 0)
    step = _crossing([step for step, _ in other], [value for _, value in other], level)
    if step is None:
        return Value(math.nan, why=f"`{outcome.when}` did not reach {level:g}")
    return Value(_interpolated(points, step))


def _crossing(steps: Sequence[int], values: Sequence[float], level: float) -> float | None:
    """The step at which the values first reach `level`, interpolated; None if they do not."""
    if values and values[0] >= level:
        return float(steps[0])
    for (before, low), (after, high) in pairwise(zip(steps, values, strict=True)):
        if low < level <= high:
            return before + (after - before) * (level - low) / (high - low)
    return None


def _interpolated(points: Sequence[tuple[int, float]], step: float) -> float:
    """The value at a step between those that were measured; at the ends, the nearest."""
    if step <= points[0][0]:
        return points[0][1]
    for (before, low), (after, high) in pairwise(points):
        if step <= after:
            return low + (high - low) * (step - before) / (after - before)
    return points[-1][1]
