"""From what was typed to an evaluation that can be made, or that is there already; loads neither torch nor a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.batch import Problem
from dapoctl.errors import UserError
from dapoctl.evaluation.problem_source import Source, check_label, find_source
from dapoctl.evaluation.protocol import Protocol, build_protocol
from dapoctl.evaluation.summary import summary_of
from dapoctl.evaluation.target import Target, find_target
from dapoctl.evaluation.writer import find_place, folder_of, is_complete, new_place, read_summary


@dataclass(frozen=True, slots=True)
class Request:
    """What an evaluation is asked to be; see the options of `dapoctl eval`."""

    model: str
    task: str = ""
    data: str = ""
    protocol: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What is given of the protocol's fields; None counts as not given"""
    engine: str | None = None
    limit: int | None = None
    step: int | None = None
    settings: Sequence[str] = ()
    label: str | None = None
    """The set's name in the store; None for its own"""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """An evaluation with all that it needs."""

    target: Target
    source: Source
    problems: Sequence[Problem]
    protocol: Protocol
    wanted: dict[str, Any]
    """The summary of what is asked"""
    directory: Path
    """The run's folder"""
    again: bool = False
    stored: dict[str, Any] | None = None
    """The summary of what is there, when that is complete and the same was asked"""

    @property
    def folder(self) -> Path:
        """Where it is written."""
        return folder_of(self.directory, self.wanted["set"], self.wanted["step"])


def plan(request: Request, root: Path, argv: Sequence[str]) -> Job:
    """The evaluation that `request` describes, in the run store `root`; a model by itself gets its folder here.

    Raises:
        UserError: something of it is unknown, or the store has this evaluation, asked otherwise.
    """
    target = find_target(request.model, root, request.step, request.engine, request.settings)
    protocol, source = _how(request, target)
    problems = source.load(request.limit)
    label = check_label(request.label or source.label)
    wanted = summary_of(label, target.step, protocol, source.describe(problems), target.model, target.mark)
    place = find_place(root, target, wanted, request.again)
    stored = None
    if place is not None and not request.again:
        found = read_summary(folder_of(place, label, target.step))
        stored = found if found is not None and is_complete(found) else None
    if place is None:
        place = new_place(root, target, argv)
    return Job(target, source, problems, protocol, wanted, place, request.again, stored)


def _how(request: Request, target: Target) -> tuple[Protocol, Source]:
    config = target.config
    given = {key: value for key, value in request.changes.items() if value is not None}
    usual = {"max_tokens": config.rollout.max_response_tokens}
    fixed = {"template": config.model.template, "engine": config.engine}
    protocol = build_protocol(request.protocol, usual | given | fixed)
    asked = {"instruction": protocol.instruction, "scorer": protocol.scorer}
    source = find_source(request.task, request.data, config.components, asked)
    for option in asked.keys() & given.keys() - source.accepts:
        raise UserError(f"--{option}: the task `{source.label}` has its own; leave the option out")
    return dataclasses.replace(protocol, scorer=source.judged_by, instruction=source.instruction), source
