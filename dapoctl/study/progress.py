"""How far a study is: each planned run beside what there is of it in the store."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.config import RunConfig
from dapoctl.config.load import Layers
from dapoctl.config.resolve import Resolved
from dapoctl.models import default_config
from dapoctl.runs.index import list_runs
from dapoctl.runs.state import ALIVE
from dapoctl.runs.summary import RunSummary, read_record
from dapoctl.study.plan import Plan, PlannedRun

MISSING = "missing"
OF_A_RUN = frozenset({"seed", "name", "plugins", "task", "engine"})
"""Keys whose values are a run's own, or words that its components stand for"""
ORDER = ("finished", *ALIVE, "queued", "stopped", "lost", "failed", MISSING)


@dataclass(frozen=True)
class Made:
    """A planned run and what there is of it."""

    planned: PlannedRun
    run: RunSummary | None = None
    """The latest of its name, a finished one before all others"""
    foreign: tuple[str, ...] = ()
    """Ids of runs of its name that were made with another configuration, before the study was changed: not counted"""

    @property
    def state(self) -> str:
        """Of the run, or `missing`."""
        return self.run.state if self.run is not None else MISSING

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self.state in ("finished", "failed")


def progress(plan: Plan, root: Path) -> list[Made]:
    """Every planned run, in the plan's order."""
    found: dict[str, list[RunSummary]] = {}
    for run in list_runs(root):
        if run.group == plan.group and not run.problem:
            found.setdefault(run.name, []).append(run)
    made = []
    for planned in plan.runs:
        runs = sorted(found.get(planned.name, []), key=lambda run: (run.state == "finished", run.created))
        own = [run for run in runs if _is_of(run, planned, plan.resolved[planned.arm])]
        foreign = tuple(run.id for run in runs if run not in own)
        made.append(Made(planned, own[-1] if own else None, foreign))
    return made


def _is_of(run: RunSummary, planned: PlannedRun, resolved: Resolved) -> bool:
    """Whether a run was made with the configuration that its arm has now."""
    wanted, config = resolved.as_dict(), run.config
    keys = {*wanted, *config} - OF_A_RUN
    layers = Layers()
    for part in (RunConfig().model_dump(), default_config(resolved.config.model.path)[0]):
        layers.add(part, "the defaults")
    defaults = layers.values | {
        name: {key: field.get_default(call_default_factory=True) for key, field in type(component).model_fields.items()}
        for name, component in resolved.pipeline.components.items()
    }
    return (
        config.get("seed") == planned.seed
        and {*run.components} == {*resolved.pipeline.components}
        and all(_same(config.get(key), wanted.get(key), defaults.get(key)) for key in keys)
        and _same_files(run, resolved)
    )


def _same_files(run: RunSummary, resolved: Resolved) -> bool:
    """Whether the components that are files were the same then, byte by byte."""
    files = {name: chosen.entry.sha256 for name, chosen in resolved.chosen.items() if chosen.entry.sha256}
    if not files:
        return True
    pipeline = dict(read_record(run.directory).spec.get("pipeline") or {})
    return all(dict(pipeline.get(name) or {}).get("sha256") == sha256 for name, sha256 in files.items())


def _same(recorded: Any, wanted: Any, default: Any) -> bool:
    """Whether a value is what a run was made with. The record of an earlier version lacks keys that have come since: the run
    then had what is the default now."""
    if isinstance(wanted, dict) and isinstance(recorded, dict) and isinstance(default, dict):
        return all(
            _same(recorded.get(key), wanted.get(key), default.get(key)) if key in wanted else False
            for key in {*wanted, *recorded}
        )
    return bool(recorded == wanted or (recorded is None and wanted == default))


def foreign_words(made: Sequence[Made]) -> str:
    """What to say of runs that were made before the study was changed; empty without any."""
    names = [run for each in made for run in each.foreign]
    if not names:
        return ""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"{len(names)} runs of this study's group were made with another configuration than the file has now: not counted"
        f" ({shown}); `dapoctl runs rm` removes them, or put the file back"
    )


def states(made: Sequence[Made]) -> dict[str, int]:
    """How many runs are in each state, in the order of `ORDER`."""
    counts = Counter(each.state for each in made)
    return {state: counts[state] for state in (*ORDER, *sorted(counts)) if counts[state]}


def hours_of(made: Sequence[Made]) -> dict[str, float]:
    """Hours that a finished run of each arm took by the clock, its evaluations included; the median of them."""
    found: dict[str, list[float]] = {}
    for each in made:
        if each.run is not None and each.state == "finished" and each.run.updated > each.run.created:
            found.setdefault(each.planned.arm, []).append((each.run.updated - _began(each.run)) / 3600)
    return {arm: statistics.median(values) for arm, values in found.items()}


def _began(run: RunSummary) -> float:
    """When its first attempt was started: it may have waited in the queue."""
    from dapoctl.runs.attempts import PROCESS, attempts
    from dapoctl.runs.files import read_json

    tried = attempts(run.directory)
    process = read_json(tried[0] / PROCESS) if tried else None
    started = process.get("started") if isinstance(process, dict) else None
    return float(started) if isinstance(started, (int, float)) else run.created


def hours_left(made: Sequence[Made], at_once: int) -> float | None:
    """Hours until all runs are over, if those that are not take what others of their arm took; None before any has."""
    known = hours_of(made)
    if not known:
        return None
    usual = statistics.median(known.values())
    left = sum(known.get(each.planned.arm, usual) * _part_left(each) for each in made if not each.over)
    return left / max(1, at_once)


def _part_left(each: Made) -> float:
    if each.run is None or not each.run.steps:
        return 1.0
    return 1 - each.run.step / each.run.steps


def finished(made: Sequence[Made]) -> Mapping[PlannedRun, RunSummary]:
    """The runs that are done."""
    return {each.planned: each.run for each in made if each.run is not None and each.state == "finished"}
