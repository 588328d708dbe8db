"""All that a report of a study draws on: its plan, frozen and as it is now, its runs, their curves and what they say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.errors import UserError
from dapoctl.evaluation.audit.audit import last_figures
from dapoctl.evaluation.audit.figures import SpanFigures
from dapoctl.runs.attempts import attempts
from dapoctl.runs.files import read_json, read_lines
from dapoctl.runs.summary import SPEC
from dapoctl.study.analysis import Outcomes, analyse
from dapoctl.study.outcomes import Curves, read_curves
from dapoctl.study.plan import Plan, PlannedRun, changes_since, plan_file
from dapoctl.study.probes import stored_probes
from dapoctl.study.progress import Made, finished, hours_of, progress
from dapoctl.study.solved import Solved, solved

EVENTS = "events.jsonl"
LAST_STEPS, MOST_RESPONSES = 10, 500
"""What is judged by other rules: so many responses of a run's last steps"""


@dataclass(frozen=True)
class Record:
    """What the folder of a finished run says besides its metrics."""

    id: str
    spec: Mapping[str, Any]
    attempts: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """A study as it stands."""

    plan: Plan
    made: Sequence[Made]
    curves: Mapping[PlannedRun, Curves]
    outcomes: Sequence[Outcomes]
    records: Mapping[PlannedRun, Record]
    frozen: Mapping[str, Any] | None
    """The plan as it was written down before the first run; None if it was not"""
    audits: Mapping[PlannedRun, SpanFigures]
    """Of the last steps of each run that stored its responses"""
    solved: Mapping[PlannedRun, Mapping[str, Solved]]
    """By set"""
    hours: Mapping[str, float]
    """That a run of an arm takes by the clock"""
    probes: Sequence[Mapping[str, Any]] = ()
    """Of each model and set, as `probe_study` stored them; empty if the study was not probed"""

    @property
    def directories(self) -> dict[PlannedRun, Path]:
        """The folders of the finished runs."""
        return {run: summary.directory for run, summary in finished(self.made).items()}

    @property
    def changes(self) -> list[tuple[float, list[str]]]:
        """(when, which keys) of each change since the plan was frozen."""
        return changes_since(self.frozen) if self.frozen else []

    @property
    def primary(self) -> list[Outcomes]:
        """What the study decides by."""
        return [each for each in self.outcomes if each.outcome.role == "primary"]

    def runs_of(self, arm: str) -> list[PlannedRun]:
        """The finished runs of an arm, by seed."""
        return sorted((run for run in self.curves if run.arm == arm), key=lambda run: run.seed)

    def last(self, run: PlannedRun, metric: str) -> float:
        """The last value of a metric; not-a-number without one."""
        points = self.curves[run].series.get(metric, ())
        return points[-1][1] if points else float("nan")


def gather(
    plan: Plan, root: Path, tell: Callable[[str, int, int], None] = lambda _phase, _done, _total: None
) -> Evidence:
    """Read it all from the store, and judge what the runs were trained on last.

    Args:
        tell: (phase, done, total) in runs
    """
    made = progress(plan, root)
    done = finished(made)
    curves = {run: read_curves(summary.directory) for run, summary in done.items()}
    records = {run: _record(summary.directory) for run, summary in done.items()}
    audits = {}
    for number, (run, summary) in enumerate(done.items()):
        tell("judge", number, len(done))
        # A run whose responses are not there any more is left out.
        with contextlib.suppress(UserError):
            audits[run] = last_figures(summary.directory, LAST_STEPS, MOST_RESPONSES)
    frozen = read_json(plan_file(root, plan.study.study.name))
    return Evidence(
        plan,
        made,
        curves,
        analyse(plan, curves),
        records,
        frozen if isinstance(frozen, dict) else None,
        audits,
        {run: solved(summary.directory) for run, summary in done.items()},
        hours_of(made),
        stored_probes(plan, root),
    )


def _record(directory: Path) -> Record:
    spec = read_json(directory / SPEC)
    events = [row for row in read_lines(directory / EVENTS) if row.get("event") == "warning"]
    warnings = tuple(dict.fromkeys(str(row.get("message", "")) for row in events))
    return Record(directory.name, spec if isinstance(spec, dict) else {}, len(attempts(directory)), warnings)
