"""A run in a few words, from small reads: its specification, the end of its metrics, its newest evaluations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dapoctl.runs.files import SCHEMA, last_row, number_or_none, open_file, read_json, read_lines
from dapoctl.runs.state import Standing, standing
from dapoctl.runs.tickets import find_ticket

SPEC, METRICS, NOTES, EVALS, LAUNCH = "spec.json", "metrics.jsonl", "notes.json", "evals", "launch.json"
LATEST = 253_402_300_800.0
"""Seconds since the epoch, from which on no calendar has a date"""


@dataclass(frozen=True)
class RunSummary:
    """A run as the store tells it."""

    id: str
    directory: Path
    name: str = ""
    state: str = "unknown"
    """See `state.STATES`"""
    why: str = ""
    """More about the state, in words"""
    step: int = 0
    steps: int = 0
    components: tuple[str, ...] = ()
    created: float = 0.0
    group: str = ""
    """The sweep that it is part of"""
    tags: tuple[str, ...] = ()
    note: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the last step, and of the newest evaluations"""
    spec: dict[str, Any] = field(default_factory=dict, repr=False)
    """Empty in a list"""
    config_text: str = field(default="", repr=False)
    """In a list, the configuration as JSON: most are never looked at"""
    problem: str = ""
    """Why the folder cannot be read as a run"""
    updated: float = 0.0
    """When its metrics were written last"""

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        found = json.loads(self.config_text) if self.config_text else self.spec.get("config", {})
        return found if isinstance(found, dict) else {}


def read_run(directory: Path, now: float | None = None) -> RunSummary:
    """The run in `directory`, or a summary that says why it is none."""
    found = read_record(directory)
    if found.problem:
        return found
    queued = find_ticket(directory.parent, directory.name) is not None
    return with_standing(found, standing(directory, queued, now))


def with_standing(summary: RunSummary, how: Standing) -> RunSummary:
    """The summary with how the run stands."""
    from dataclasses import replace

    return replace(summary, state=how.state, why=how.why)


def read_record(directory: Path) -> RunSummary:
    """What the folder holds, without how the run stands now."""
    path = directory / SPEC
    spec = read_json(path)
    if not isinstance(spec, dict):
        return RunSummary(directory.name, directory, problem=_unreadable(directory, path))
    try:
        schema, created = int(spec.get("schema", 0)), float(spec.get("created", 0.0))
        config = spec.get("config", {})
        steps = int(config.get("steps", 0))
        components = tuple(str(name) for name in spec.get("pipeline", ()))
        damaged = not 0 <= created < LATEST or not isinstance(config.get("model", {}), dict)
    except (TypeError, ValueError, OverflowError, AttributeError):
        damaged = True
    if damaged:
        return RunSummary(directory.name, directory, problem="spec.json is damaged")
    if schema > SCHEMA:
        problem = f"written by a newer dapoctl (schema {schema}, this one reads {SCHEMA})"
        return RunSummary(directory.name, directory, problem=problem)
    row = last_row(directory / METRICS, _is_metrics) or {}
    tags, note = read_notes(directory)
    return RunSummary(
        id=directory.name,
        directory=directory,
        name=str(spec.get("name", "")),
        step=int(row.get("step", 0)),
        steps=steps,
        components=components,
        created=created,
        group=str(spec.get("group", "")),
        tags=tags,
        note=note,
        metrics=_eval_metrics(directory) | _floats(row.get("metrics", {})),
        spec=spec,
        updated=number_or_none(row.get("time")) or 0.0,
    )


def _unreadable(directory: Path, path: Path) -> str:
    try:
        path.stat()
        with open_file(path):
            return "spec.json is damaged"
    except FileNotFoundError:
        return "no spec.json: not a run" if directory.is_dir() else "no such folder"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def metric_rows(directory: Path) -> Iterator[dict[str, Any]]:
    """The rows of `metrics.jsonl`: step, time, metrics."""
    for row in read_lines(directory / METRICS):
        if _is_metrics(row):
            yield row | {"metrics": _floats(row["metrics"])}


def _is_metrics(row: dict[str, Any]) -> bool:
    return isinstance(row.get("metrics"), dict) and isinstance(row.get("step"), int)


def _floats(values: Any) -> dict[str, float]:
    """The metrics that are numbers."""
    found = {str(name): number_or_none(value) for name, value in values.items()} if isinstance(values, dict) else {}
    return {name: value for name, value in found.items() if value is not None}


def _eval_metrics(directory: Path) -> dict[str, float]:
    """Of the newest evaluation of each set."""
    found: dict[str, float] = {}
    for name in _names(directory / EVALS):
        steps = [int(step[5:]) for step in _names(directory / EVALS / name) if step[5:].isdecimal()]
        if steps:
            summary = read_json(directory / EVALS / name / f"step_{max(steps)}" / "summary.json")
            found |= _floats(summary.get("metrics")) if isinstance(summary, dict) else {}
    return found


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []


def read_notes(directory: Path) -> tuple[tuple[str, ...], str]:
    """(tags, note) that people gave the run."""
    found = read_json(directory / NOTES)
    if not isinstance(found, dict) or not isinstance(found.get("tags", []), list):
        return (), ""
    return tuple(str(tag) for tag in found.get("tags", [])), str(found.get("note", ""))


TRAINING, EVALUATION = "train", "eval"

"""Kinds of runs: one that trains, and the evaluations of a model that no run trained"""
