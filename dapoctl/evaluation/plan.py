"""From a request to an evaluation that can start or is already stored; loads neither torch nor a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.batch import Problem
from dapoctl.errors import DataError, StorageError, UserError
from dapoctl.evaluation.contamination.overlap import overlap
from dapoctl.evaluation.problem_source import FIELDS, Source, check_label, find_source
from dapoctl.evaluation.protocol import Protocol, build_protocol
from dapoctl.evaluation.run_sets import recorded_source
from dapoctl.evaluation.summary import summary_of
from dapoctl.evaluation.target import Target, find_target
from dapoctl.evaluation.writer import find_place, folder_of, is_complete, new_place, read_summary
from dapoctl.runs.checkpoints import damage_of, newest_first, step_of
from dapoctl.runs.summary import read_record
from dapoctl.tasks.problem_sets import DATA_TASK
from dapoctl.tasks.rows import FILE_ENDINGS

WEIGHTS = "model/"
"""Beginning of the names of a checkpoint's files that an evaluation reads"""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for an evaluation; see the options of `dapoctl eval`."""

    model: str
    task: str = ""
    data: str = ""
    protocol: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Changed fields of the protocol; None counts as not given"""
    engine: str | None = None
    limit: int | None = None
    step: int | None = None
    settings: Sequence[str] = ()
    label: str | None = None
    """The set's name in the store; None for its usual name"""
    again: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    """`problem_field` and `answer_field` of `data`; empty for the run's own, or the usual ones"""


@dataclass(frozen=True, slots=True)
class Job:
    """An evaluation with everything that it needs."""

    target: Target
    source: Source
    problems: Sequence[Problem]
    protocol: Protocol
    wanted: dict[str, Any]
    """The summary of the requested evaluation, before it has results"""
    directory: Path
    """The run's folder"""
    again: bool = False
    stored: dict[str, Any] | None = None
    """The stored summary, if the same evaluation is already complete"""
    warnings: tuple[str, ...] = ()
    """For whoever asked"""

    @property
    def folder(self) -> Path:
        """Where it is written."""
        return folder_of(self.directory, self.wanted["set"], self.wanted["step"])


def plan(request: Request, root: Path, argv: Sequence[str]) -> Job:
    """The evaluation that `request` describes, in the run store `root`; the folder of a model that no run
    trained is created here.

    Raises:
        UserError: a name is unknown, or the store has this evaluation with other settings.
        StorageError: the checkpoint is damaged; where no step was requested, every one.
    """
    target = find_target(request.model, root, request.step, request.engine, request.settings, _task_of(request))
    protocol, source = _protocol_and_source(request, target)
    problems = _load(source, request.limit)
    label = check_label(request.label or source.label)
    wanted = summary_of(label, target.step, protocol, source.describe(problems), target.model, target.mark)
    directory = find_place(root, target, wanted, request.again)
    stored = None
    if directory is not None and not request.again:
        summary = read_summary(folder_of(directory, label, target.step))
        stored = summary if summary is not None and is_complete(summary) else None
    if stored is None and target.weights is not None and (damage := damage_of(target.weights.parent, WEIGHTS)):
        return _before(request, root, argv, target.weights.parent, damage)
    if directory is None:
        directory = new_place(root, target, argv)
    return Job(target, source, problems, protocol, wanted, directory, request.again, stored)


def _task_of(request: Request) -> str:
    """The task whose parameters may be changed; none for a file, which has options instead."""
    return "" if request.data or request.task.lower().endswith(FILE_ENDINGS) else request.task


def _before(request: Request, root: Path, argv: Sequence[str], checkpoint: Path, damage: str) -> Job:
    """The same evaluation of the newest undamaged checkpoint before a damaged one."""
    told = f"checkpoint `{checkpoint}` is damaged: {damage}"
    earlier = (path for path in newest_first(checkpoint.parent.parent) if step_of(path) < step_of(checkpoint))
    whole = next((path for path in earlier if not damage_of(path, WEIGHTS)), None)
    if request.step is not None or whole is None:
        there = f"--step {step_of(whole)} evaluates an earlier one" if whole else "there is no earlier one"
        raise StorageError(f"{told}; {there}")
    job = plan(dataclasses.replace(request, step=step_of(whole)), root, argv)
    return dataclasses.replace(job, warnings=(f"{told}; step {job.target.step} is evaluated instead",))


def trained_on(job: Job) -> str:
    """A sentence on problems that the run was trained on; empty for models before training, and without overlap.

    Only training data in a file that is still there are looked at.
    """
    config = job.target.config
    if config.eval.decontaminate and job.wanted["set"] in (config.eval.set or [config.task]):
        return ""
    table = config.components.get(DATA_TASK, {})
    data = str(table.get("data") or "")
    if not job.target.step or config.task != DATA_TASK or not Path(data).expanduser().is_file():
        return ""
    try:
        problems = find_source(DATA_TASK, "", {DATA_TASK: table}, {}).load(split="train")
    except DataError as error:
        return f"whether the run was trained on these problems cannot be seen: {error}"
    return overlap(problems, job.problems).words(str(job.wanted["set"]))


def _protocol_and_source(request: Request, target: Target) -> tuple[Protocol, Source]:
    config = target.config
    given = {key: value for key, value in request.changes.items() if value is not None}
    defaults = {"max_tokens": config.rollout.max_response_tokens}
    fixed = {"template": config.model.template, "engine": config.engine}
    protocol = build_protocol(request.protocol, defaults | given | fixed)
    asked = {"instruction": protocol.instruction, "scorer": protocol.scorer}
    named = {key: name for key, name in request.fields.items() if name}
    if named and not request.data:
        option = next(iter(named)).replace("_", "-")
        raise UserError(f"--{option}: it says which field of a file holds what, so it needs --data FILE")
    own = None
    if target.run is not None and not request.data:
        own = recorded_source(request.task, config, read_record(target.run), asked)
    source = own or find_source(request.task, request.data, config.components, asked | named)
    for option in asked.keys() & given.keys() - source.accepts:
        raise UserError(f"--{option}: the task `{source.label}` has its own; leave the option out")
    return dataclasses.replace(protocol, scorer=source.judged_by, instruction=source.instruction), source


def _load(source: Source, limit: int | None) -> list[Problem]:
    try:
        return source.load(limit)
    except DataError as error:
        # The task names its parameters, which are options here.
        words = str(error)
        for key in FIELDS:
            words = words.replace(f"{DATA_TASK}.{key}", f"--{key.replace('_', '-')}")
        raise DataError(words) from None
