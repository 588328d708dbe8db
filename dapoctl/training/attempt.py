"""One process's work on a run: started or resumed, trained, and ended so that its folder says how."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dapoctl.batch import RunInfo
from dapoctl.components.base import Component, only_observes
from dapoctl.components.resolver import idle_on
from dapoctl.config.load import Layers, flatten
from dapoctl.config.resolve import Resolved, resolve
from dapoctl.doctor.machine import busy_words
from dapoctl.errors import TRACEBACK, DapoctlError, HookError, OutOfMemoryError, RunWarning
from dapoctl.evaluation.during_training import EvalSet
from dapoctl.models import kind_of
from dapoctl.runs.checkpoints import adopt
from dapoctl.runs.inputs import changed_inputs, data_files, describe_files, describe_model, revision
from dapoctl.runs.interrupt import Stopper, StopRequested
from dapoctl.runs.jobs.control import check_resumable
from dapoctl.runs.jobs.create import changed_versions, create
from dapoctl.runs.manifest import is_sealed
from dapoctl.runs.plugin_changes import refuse_changed, refuse_different, since_the_beginning
from dapoctl.runs.record import RunRecord, refused
from dapoctl.runs.summary import metric_rows, read_run
from dapoctl.training import checkpoint
from dapoctl.training.build import build_eval_sets, build_learner
from dapoctl.training.inert import inert
from dapoctl.training.learner import Learner
from dapoctl.training.memory import memory_in_use, out_of_memory_where
from dapoctl.training.profiling import Profiler, Steps
from dapoctl.training.reporting import Reporter
from dapoctl.training.trainer import Trainer, TrainerState


@dataclass
class Result:
    """How an attempt ended, and what the run learned."""

    id: str
    directory: Path
    state: str
    """finished or stopped"""
    step: int
    steps: int
    before: dict[str, float] = field(default_factory=dict)
    """Evaluation metrics before training"""
    after: dict[str, float] = field(default_factory=dict)
    """The latest evaluation metrics"""
    seconds: float = 0.0
    """Of training in this attempt, without loading"""
    warnings: list[str] = field(default_factory=list)
    ended_by: str = ""
    """Why it finished before its last step; empty if it did not"""
    profile: dict[str, Any] | None = None
    """What `--profile` measured, as in the run's `profile/summary.json`"""


def start(
    resolved: Resolved,
    runs_dir: Path,
    argv: Sequence[str],
    observers: Sequence[Component] = (),
    profile: Steps | None = None,
) -> Result:
    """Train a new run in its own folder under `runs_dir`; `profile` says which steps to profile.

    Raises:
        DapoctlError: what went wrong; the run's folder says so too.
    """
    return _Attempt(create(resolved, runs_dir, argv), resolved, observers, profile).run()


def resume(
    directory: Path, observers: Sequence[Component] = (), profile: Steps | None = None, attempt: int | None = None
) -> Result:
    """Continue a run from its last checkpoint, or from its beginning if it has none.

    Args:
        attempt: the number that the supervisor which started this process gave it

    Raises:
        UserError: not a run, running or finished already, or a plugin file has changed and nobody agreed to that.
        StorageError: it has checkpoints, and all of them are damaged.
    """
    try:
        prepared = _prepare_to_resume(directory, observers, profile, attempt)
    except DapoctlError as error:
        if attempt is not None:
            refused(directory, attempt, error)
        raise
    return prepared.run()


def _prepare_to_resume(
    directory: Path, observers: Sequence[Component], profile: Steps | None, attempt: int | None
) -> _Attempt:
    summary = read_run(directory)
    check_resumable(summary, supervised=attempt is not None)
    refuse_changed(summary)
    layers = Layers()
    layers.add(summary.spec["config"], f"{directory}/spec.json")
    resolved = resolve(layers, recorded=True)
    origins = {name: item.entry.describe() for name, item in resolved.chosen.items()}
    refuse_different(summary, origins, [name for name, item in resolved.chosen.items() if only_observes(item.cls)])
    changes = since_the_beginning(summary, origins)
    now = {"model": describe_model(resolved.config.model.path), "data": describe_files(data_files(resolved.pipeline))}
    inputs = changed_inputs(summary.spec.get("inputs"), now)
    return _Attempt(directory, resolved, observers, profile, attempt, changes, changed_versions(summary.spec), inputs)


class _Attempt:
    """One process's work on a run."""

    def __init__(
        self,
        directory: Path,
        resolved: Resolved,
        observers: Sequence[Component],
        profile: Steps | None,
        number: int | None = None,
        changes: Sequence[dict[str, str]] = (),
        versions: Mapping[str, Sequence[str]] = MappingProxyType({}),
        inputs: Sequence[dict[str, str]] = (),
    ) -> None:
        self.directory = directory
        self.config, self.pipeline = resolved.config, resolved.pipeline
        self.asked_for = resolved.asked_for
        self.changes = changes
        """How its components differ from those that the run began with"""
        self.versions = versions
        """Libraries whose version differs, then and now"""
        self.inputs = inputs
        """How its model and data differ from those"""
        self.found = checkpoint.newest(directory)
        self.saved = self.found.state
        self.progress = TrainerState.of(self.saved) if self.saved else TrainerState()
        self.window = profile.choose(self.progress.step, self.config.steps) if profile else None
        reported = self.progress.step - (self.progress.pending is not None)
        self.record = RunRecord(directory, reported, resumed=self.saved is not None, attempt=number)
        self.reporter = Reporter(self.record, self.pipeline, observers)
        self.stopper = Stopper(lambda: self.reporter.phase("stop"))
        self.info = RunInfo(
            id=directory.name,
            directory=directory,
            config=flatten(self.config),
            components=[*self.pipeline.components],
            steps=self.config.steps,
            start_step=self.progress.step,
        )
        self.checkpoint: Path | None = None
        """Where it goes on from"""
        self.learner: Learner | None = None
        self.eval_sets: list[EvalSet] = []
        self.trainer: Trainer | None = None
        self.outcome = "failed"

    def run(self) -> Result:
        """Train to the end, or to a stop; the folder says how it ended.

        Raises:
            DapoctlError: what went wrong.
        """
        error, out_of_memory = "", False
        with warnings.catch_warnings(record=False):
            warnings.showwarning = self.reporter.warn
            try:
                with self.stopper.installed():
                    self._prepare().train()
                    self.outcome = "finished"
                    self._tell_of_inert()
            except StopRequested:
                if self.outcome != "finished":
                    self.outcome = "stopped"
            except BaseException as failure:
                error = str(failure) if isinstance(failure, DapoctlError) else f"{type(failure).__name__}: {failure}"
                if (where := out_of_memory_where(failure)) is not None:
                    lacking = OutOfMemoryError(where, self.record.activity.phase, error)
                    error, out_of_memory = str(lacking), True
                    self._keep_traceback(failure, lacking)
                    raise lacking from failure
                self._keep_traceback(failure, failure)
                raise
            finally:
                self._end(error, out_of_memory)
        return self._result()

    def _prepare(self) -> Trainer:
        """Load what the run works on, and announce the run to its observers."""
        self.learner = learner = self._load()
        profiler = None
        if self.window:
            memory, announce = partial(memory_in_use, learner.policy.device), partial(self.reporter.phase, "profile")
            profiler = Profiler(self.directory, *self.window, learner.policy.device, memory, announce)
        self.trainer = Trainer(learner, self.progress, self.eval_sets, self.reporter, self.stopper, profiler)
        self.reporter.observe("on_run_start", run=self.info)
        return self.trainer

    def _load(self) -> Learner:
        self.reporter.phase("load")
        self.checkpoint = adopt(self.found.path) if self.found.path else None
        self._tell_what_changed()
        learner = build_learner(self.config, self.pipeline, self.checkpoint / "model" if self.checkpoint else None)
        learner.phase = self.reporter.phase
        if hasattr(learner.engine, "progress"):
            learner.engine.progress = lambda done, total: self.reporter.phase("generate", done, total)
        if self.saved is not None:
            checkpoint.restore(learner, self.saved, self.checkpoint)
            verified = self.checkpoint is not None and is_sealed(self.checkpoint)
            self.record.event("resumed", step=self.saved["step"], verified=verified)
            self.saved = None  # as large as the optimizer's state
        self._tell_of_inputs(learner)
        for words in idle_on(self.pipeline, self.config, self.asked_for, len(learner.problems)):
            self.reporter.warn(RunWarning(words))
        self.eval_sets = build_eval_sets(self.config, learner)
        return learner

    def _tell_what_changed(self) -> None:
        """Note what is not as it was when the run began, and warn of what its results may show."""
        step = self.progress.step
        for change in self.changes:
            self.record.event("plugin_changed", step=step, **change)
        for damage in self.found.damaged:
            goes_on = self.checkpoint.name if self.checkpoint else "the beginning"
            self.reporter.warn(RunWarning(f"{damage}; the run goes on from {goes_on}"))
        if self.versions:
            self.record.event("versions_changed", step=step, versions=self.versions)
            listed = ", ".join(
                f"{name} {then or 'none'} -> {now or 'none'}" for name, (then, now) in self.versions.items()
            )
            self.reporter.warn(
                RunWarning(
                    f"the run began with other versions ({listed}): from step {step + 1} on its results may differ from those"
                    " of an uninterrupted run; its events say so"
                )
            )

    def _tell_of_inputs(self, learner: Learner) -> None:
        """Note what the run's record could not say or says otherwise, and warn of a machine that is too busy."""
        if kind_of(self.config.model.path) == "hub":
            self.record.event("model_loaded", revision=revision(self.config.model.path))
        for change in self.inputs:
            self.record.event("input_changed", step=self.progress.step, **change)
            self.reporter.warn(
                RunWarning(
                    f"{change['what']} is not what it was when the run began ({change['from'][:12]}, now {change['to'][:12]});"
                    " it goes on with what is there, and its events say so"
                )
            )
        if words := busy_words(learner.policy.device.type, self.config.train.threads):
            self.reporter.warn(RunWarning(words))

    def _tell_of_inert(self) -> None:
        """Warn of components that changed nothing from the first step to the last; of what could not, it was warned before."""
        rows = [row["metrics"] for row in metric_rows(self.directory) if row["step"]]
        components = self.pipeline.components
        names = {name for name in self.asked_for if not components[name].cannot_act(self.config)}
        for words in inert(rows, self.pipeline, names):
            self.reporter.warn(RunWarning(words))

    def _result(self) -> Result:
        trainer, progress = self.trainer, self.progress
        return Result(
            id=self.directory.name,
            directory=self.directory,
            state=self.outcome,
            step=progress.step,
            steps=self.config.steps,
            before=progress.before,
            after=progress.after,
            seconds=trainer.seconds if trainer else 0.0,
            warnings=self.reporter.warnings,
            ended_by=trainer.ended_by if trainer else "",
            profile=trainer.profiler.summary if trainer and trainer.profiler else None,
        )

    def _keep_traceback(self, failure: BaseException, told: BaseException) -> None:
        """Log the traceback of `failure` and have `told` say where; the user's own mistakes need none."""
        if isinstance(failure, Exception) and not (isinstance(failure, DapoctlError) and failure.__cause__ is None):
            path = self.record.keep_traceback(failure)
            if path is not None:
                told.add_note(f"{TRACEBACK} {path}")

    def _end(self, error: str, out_of_memory: bool) -> None:
        """Record how the attempt ended, tell the observers, close everything; warn of what fails at that.

        Raises:
            HookError: the attempt itself succeeded, and a component failed at its end.
        """
        reason = self.trainer.ended_by if self.trainer is not None and self.outcome == "finished" else ""
        self.record.ended(self.outcome, error, out_of_memory, reason)
        failures = []
        try:
            for end in self._ends():
                try:
                    end()
                except Exception as failure:  # noqa: BLE001 (told below)
                    failures.append(failure)
            if failures and not error:
                finished = f"all {self.progress.step} steps are done and saved"
                done = finished if self.outcome == "finished" else f"the run is {self.outcome}"
                late = HookError(f"{done}, but {failures[0]}")
                self._keep_traceback(failures[0], late)
                self.record.ended(self.outcome, str(late), reason=reason)
                raise late from failures[0]
            for other in failures:
                self.reporter.warn(RunWarning(str(other)))
        finally:
            self.record.close()

    def _ends(self) -> list[Callable[[], None]]:
        """What is called at the end, each even if others fail."""
        ends: list[Callable[[], None]] = [
            partial(self.reporter.observe_in, pipeline, "on_run_end", run=self.info, state=self.outcome)
            for pipeline in self.reporter.pipelines
        ]
        if self.learner is not None:
            ends.append(self.learner.engine.close)
        return ends + [each.close for each in (self.pipeline, *(item.pipeline for item in self.eval_sets))]
