"""The loop around the step: evaluations, checkpoints, observers, and going on where a run was left."""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dapoctl.batch import Batch, RunInfo
from dapoctl.components.base import Component
from dapoctl.components.pipeline import Pipeline
from dapoctl.config.load import Layers, flatten
from dapoctl.config.resolve import Resolved, resolve
from dapoctl.errors import TRACEBACK, DapoctlError, HookError, OutOfMemoryError, RunWarning
from dapoctl.evaluation.during_training import EvalSet, evaluate
from dapoctl.runs.interrupt import Stopper, StopRequested
from dapoctl.runs.jobs.control import check_resumable
from dapoctl.runs.jobs.create import create
from dapoctl.runs.plugin_changes import refuse_changed, since_the_beginning
from dapoctl.runs.record import RunRecord
from dapoctl.runs.summary import read_run
from dapoctl.training import checkpoint
from dapoctl.training.build import build_eval_sets, build_learner
from dapoctl.training.learner import Learner, seed_for, step_metrics
from dapoctl.training.memory import out_of_memory_where, peak_memory
from dapoctl.training.metrics import Metrics
from dapoctl.training.profiling import Profiler, Steps
from dapoctl.training.step import collect, learn


@dataclass
class Result:
    """How a run ended, and what it learned."""

    id: str
    directory: Path
    state: str
    """finished or stopped"""
    step: int
    steps: int
    before: dict[str, float] = field(default_factory=dict)
    """Evaluation metrics before training"""
    after: dict[str, float] = field(default_factory=dict)
    """The same, the last ones"""
    seconds: float = 0.0
    """Of training in this attempt, loading left out"""
    warnings: list[str] = field(default_factory=list)
    profile: dict[str, Any] | None = None
    """What `--profile` found, as in the run's `profile/summary.json`"""


def start(
    resolved: Resolved,
    runs_dir: Path,
    argv: Sequence[str],
    observers: Sequence[Component] = (),
    profile: Steps | None = None,
) -> Result:
    """Train a new run in a folder of its own under `runs_dir`; `profile` says where to look at its speed.

    Raises:
        DapoctlError: what went wrong; the run's folder says it too.
    """
    return _Attempt(create(resolved, runs_dir, argv), resolved, observers, profile).run()


def resume(
    directory: Path, observers: Sequence[Component] = (), profile: Steps | None = None, attempt: int | None = None
) -> Result:
    """Go on with a run from its last checkpoint, or from its beginning when it has none.

    Args:
        attempt: the number that the supervisor which started this process gave it

    Raises:
        UserError: it is no run, it is running or finished, or a plugin file has changed and nobody agreed to that.
    """
    summary = read_run(directory)
    check_resumable(summary, supervised=attempt is not None)
    refuse_changed(summary)
    layers = Layers()
    layers.add(summary.spec["config"], f"{directory}/spec.json")
    resolved = resolve(layers)
    going_on = _Attempt(directory, resolved, observers, profile, attempt)
    going_on.changes = since_the_beginning(
        summary, {name: item.entry.describe() for name, item in resolved.chosen.items()}
    )
    return going_on.run()


class _Attempt:
    """One process's work on a run."""

    def __init__(
        self,
        directory: Path,
        resolved: Resolved,
        observers: Sequence[Component],
        profile: Steps | None,
        number: int | None = None,
    ) -> None:
        self.directory = directory
        self.number = number
        self.config = resolved.config
        self.pipeline = resolved.pipeline
        self.observers = Pipeline(list(observers))
        self.phases: list[Callable[[str, int, int], None]] = [
            observer.on_phase for observer in observers if hasattr(observer, "on_phase")
        ]
        self.profile = profile
        self.profiler: Profiler | None = None
        self.stopper = Stopper(lambda: self._phase("stop"))
        self.result = Result(directory.name, directory, "failed", 0, self.config.steps)
        self.eval_sets: list[EvalSet] = []
        self.warned: set[str] = set()
        self.done = 0
        """Steps whose update is in the weights"""
        self.pending: dict[str, float] | None = None
        """Metrics of the last of these, while they are not yet reported"""
        self.changes: list[dict[str, str]] = []
        """How its components differ from those that the run began with"""
        self.torn = False
        """A step was left in the middle of its updates, so the weights are of no step"""

    def run(self) -> Result:
        """Train to the end, or to a stop; the folder says how it ended."""
        found = checkpoint.latest(self.directory)
        state = checkpoint.read_state(found) if found else None
        if state is not None:
            self.done, self.pending = int(state["step"]), state["pending"]
        window = self.profile.choose(self.done, self.config.steps) if self.profile else None
        reported = self.done - (self.pending is not None)
        self.record = RunRecord(self.directory, reported, resumed=state is not None, attempt=self.number)
        info = RunInfo(
            id=self.directory.name,
            directory=self.directory,
            config=flatten(self.config),
            components=[*self.pipeline.components],
            steps=self.config.steps,
            start_step=self.done,
        )
        error, out_of_memory = "", False
        learner: Learner | None = None
        with warnings.catch_warnings(record=False):
            warnings.showwarning = self._warn
            try:
                with self.stopper.installed():
                    learner = self._load(found, state)
                    if window:
                        self.profiler = self._build_profiler(learner, window)
                    self._observe("on_run_start", run=info)
                    self._train(learner)
                    self.result.state = "finished"
            except StopRequested:
                if self.result.state != "finished":
                    self.result.state = "stopped"
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
                self._end(info, learner, error, out_of_memory)
        return self.result

    def _keep_traceback(self, failure: BaseException, told: BaseException) -> None:
        """Put the traceback where `told` can say that it is; the user's own mistakes need none."""
        if isinstance(failure, Exception) and not (isinstance(failure, DapoctlError) and failure.__cause__ is None):
            path = self.record.keep_traceback(failure)
            if path is not None:
                told.add_note(f"{TRACEBACK} {path}")

    def _end(self, info: RunInfo, learner: Learner | None, error: str, out_of_memory: bool) -> None:
        """Say how the attempt ended, tell the observers, close everything; who fails at that is named.

        Raises:
            HookError: the attempt went well, and a component failed at its end.
        """
        state = self.result.state
        self.record.ended(state, error, out_of_memory)
        ends: list[Callable[[], None]] = [
            partial(pipeline.observe, "on_run_end", run=info, state=state)
            for pipeline in (self.pipeline, self.observers)
        ]
        ends += [learner.engine.close] if learner is not None else []
        ends += [pipeline.close for pipeline in (self.pipeline, *(item.pipeline for item in self.eval_sets))]
        failures = []
        try:
            for end in ends:
                try:
                    end()
                except Exception as failure:  # noqa: BLE001 (told below)
                    failures.append(failure)
            if failures and not error:
                done = (
                    f"all {self.config.steps} steps are done and saved"
                    if state == "finished"
                    else f"the run is {state}"
                )
                late = HookError(f"{done}, but {failures[0]}")
                self._keep_traceback(failures[0], late)
                self.record.ended(state, str(late))
                raise late from failures[0]
            for other in failures:
                self._warn(RunWarning(str(other)))
        finally:
            self.record.close()

    def _warn(self, message: Warning | str, *_details: Any, **_more: Any) -> None:
        """Note every warning; the user is told of those that are about the run, not of a library's."""
        text = str(message)
        if text not in self.warned:
            self.warned.add(text)
            self.record.event("warning", message=text)
            if isinstance(message, RunWarning):
                self.result.warnings.append(text)

    def _observe(self, hook: str, **arguments: Any) -> None:
        self.pipeline.observe(hook, **arguments)
        self.observers.observe(hook, **arguments)

    def _phase(self, phase: str, done: int = 0, total: int = 0) -> None:
        self.record.activity.note(phase, done, total)
        for report in self.phases:
            report(phase, done, total)

    def _load(self, found: Path | None, state: dict[str, Any] | None) -> Learner:
        self._phase("load")
        learner = build_learner(self.config, self.pipeline, found / "model" if found else None)
        learner.phase = self._phase
        if hasattr(learner.engine, "progress"):
            learner.engine.progress = lambda done, total: self._phase("generate", done, total)
        if state is not None:
            checkpoint.restore(learner, state)
            self.record.event("resumed", step=state["step"])
        for change in self.changes:
            self.record.event("plugin_changed", step=self.done, **change)
        if state is not None:
            self.result.before = dict(state["before"])
            self.result.after = dict(state["after"])
        self.eval_sets = build_eval_sets(self.config, learner)
        return learner

    def _build_profiler(self, learner: Learner, window: tuple[int, int]) -> Profiler:
        memory, announce = partial(peak_memory, learner.policy.device), partial(self._phase, "profile")
        return Profiler(self.directory, *window, learner.policy.device, memory, announce)

    def _train(self, learner: Learner) -> None:
        begun = time.perf_counter()
        try:
            if self.done == 0 and self.eval_sets and not self.result.before:
                metrics = self._evaluate(learner, 0)
                self.result.before = self.result.after = metrics
                self._report(0, metrics)
            if self.pending is not None:
                self._finish(learner)
            while self.done < self.config.steps:
                with self.profiler.step(self.done + 1) if self.profiler else contextlib.nullcontext():
                    self._step(learner, self.done + 1)
        except StopRequested:
            with self.stopper.protected():
                if self.done:
                    self._save(learner)
            raise
        except HookError:
            self._rescue(learner)
            raise
        finally:
            self.result.step, self.result.seconds = self.done, time.perf_counter() - begun
            self.result.profile = self.profiler.summary if self.profiler else None

    def _save(self, learner: Learner) -> None:
        self._phase("checkpoint")
        checkpoint.save(learner, self.directory, self.done, self._extra())

    def _rescue(self, learner: Learner) -> None:
        """Save what was done before a component failed, so that the run goes on from there once it is mended."""
        last = checkpoint.latest(self.directory)
        if not self.done or self.torn or (last is not None and last.name == f"step_{self.done}"):
            return
        try:
            self._save(learner)
        except DapoctlError as failure:
            # The component that failed may be the one whose state cannot be had.
            self._warn(RunWarning(f"nothing was saved after step {self.done}: {failure}"))

    def _step(self, learner: Learner, step: int) -> None:
        before = copy.deepcopy((learner.pipeline.state_dict(), learner.history, learner.leftovers))
        learner.metrics = Metrics(self.profiler.span) if self.profiler else Metrics()
        learner.default_metrics, learner.trace = Metrics(), []
        self.pipeline.attach(learner.metrics.add)
        try:
            batch = collect(learner, step)
        except (StopRequested, HookError):
            self._give_up(learner, *before)
            raise
        with self.stopper.protected():
            if batch is not None:
                self._learn(learner, batch, step, before)
            with learner.metrics.span("record"):
                self.record.samples(step, learner.trace)
            self.done, self.pending = step, step_metrics(learner, step)
            self.record.activity.step = step
            if not self._evaluates(step):
                self._finish(learner)
        if self.pending is not None:
            self._finish(learner)

    def _learn(self, learner: Learner, batch: Batch, step: int, before: tuple[Any, Any, Any]) -> None:
        try:
            learn(learner, batch, step)
        except HookError:
            # Of several updates the first ones may be in the weights.
            self.torn = learner.metrics.has("policy/grad_norm")
            if not self.torn:
                self._give_up(learner, *before)
            raise

    def _give_up(self, learner: Learner, states: Any, history: Any, leftovers: Any) -> None:
        """Leave a step before its update: as if it had not begun."""
        learner.history, learner.leftovers = history, leftovers
        learner.pipeline.load_state_dict(states)

    def _finish(self, learner: Learner) -> None:
        """Evaluate and report the step that is done, and save it when it is due."""
        step, metrics = self.done, dict(self.pending or {})
        if self._evaluates(step):
            with learner.metrics.span("eval"):
                self.result.after = self._evaluate(learner, step)
            metrics |= self.result.after
        with self.stopper.protected():
            with learner.metrics.span("record"):
                self._report(step, metrics)
            self.pending = None
            every = self.config.checkpoint.every
            if step == self.config.steps or (every and step % every == 0):
                with learner.metrics.span("checkpoint"):
                    self._save(learner)

    def _evaluates(self, step: int) -> bool:
        return bool(self.eval_sets) and (step % self.config.eval.every == 0 or step == self.config.steps)

    def _extra(self) -> dict[str, Any]:
        return {"before": self.result.before, "after": self.result.after, "pending": self.pending}

    def _report(self, step: int, metrics: dict[str, float]) -> None:
        self.record.metrics(step, metrics)
        self._observe("on_step_end", step=step, metrics=metrics)

    def _evaluate(self, learner: Learner, step: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for place, eval_set in enumerate(self.eval_sets):
            self._phase("eval", place, len(self.eval_sets))
            seed = seed_for(self.config.seed, 4, place)
            summary, rows = evaluate(eval_set, learner.policy, learner.engine, self.config, step, seed)
            self.record.evaluation(eval_set.name, step, rows, summary)
            metrics |= summary["metrics"]
        return metrics
