"""The loop around the step: evaluations, metrics, checkpoints, and leaving it at a place where the run's state is whole."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dapoctl.batch import Batch
from dapoctl.errors import DapoctlError, HookError, RunWarning
from dapoctl.evaluation.during_training import EvalSet, evaluate
from dapoctl.runs.checkpoints import checkpoints
from dapoctl.runs.interrupt import Stopper, StopRequested
from dapoctl.runs.summary import metric_rows
from dapoctl.training import checkpoint
from dapoctl.training.finite import check_weights
from dapoctl.training.learner import Learner, seed_for, step_metrics
from dapoctl.training.metrics import Metrics
from dapoctl.training.profiling import Profiler
from dapoctl.training.reporting import Reporter
from dapoctl.training.response_rows import Sampled
from dapoctl.training.spent import Spent
from dapoctl.training.step import collect, learn


@dataclass
class TrainerState:
    """How far a run has come: what a checkpoint holds besides the learner."""

    step: int = 0
    """Steps whose update is in the weights"""
    pending: dict[str, float] | None = None
    """Metrics of the last of these, until they are reported"""
    before: dict[str, float] = field(default_factory=dict)
    """Evaluation metrics before training"""
    after: dict[str, float] = field(default_factory=dict)
    """The latest evaluation metrics"""

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> TrainerState:
        """The one in a checkpoint's state."""
        return cls(int(saved["step"]), saved["pending"], dict(saved["before"]), dict(saved["after"]))

    def extra(self) -> dict[str, Any]:
        """What `checkpoint.save` writes besides the step."""
        return {"before": self.before, "after": self.after, "pending": self.pending}


class Trainer:
    """Trains from the step that `state` says to the last one."""

    def __init__(
        self,
        learner: Learner,
        state: TrainerState,
        eval_sets: Sequence[EvalSet],
        reporter: Reporter,
        stopper: Stopper,
        profiler: Profiler | None = None,
    ) -> None:
        self.learner, self.config = learner, learner.config
        self.state = state
        self.eval_sets = eval_sets
        self.reporter, self.record = reporter, reporter.record
        self.stopper = stopper
        self.profiler = profiler
        self.seconds = 0.0
        """Spent in `train`"""
        self.ended_by = ""
        """Why the run ended before its last step; empty if it did not"""
        self._spent = Spent(metric_rows(self.record.directory), state.step)
        if state.pending is not None:
            self._spent.add(state.step, state.pending)
        self._torn = False
        """A step failed between its updates: the weights are those of no step"""
        self._saved = (state.step, copy.deepcopy(state.extra()))
        """What the newest checkpoint holds"""

    def train(self) -> None:
        """Do every step that is left.

        Raises:
            StopRequested: after saving a checkpoint.
            DapoctlError: a step failed; what a `HookError` leaves whole is saved.
        """
        begun = time.perf_counter()
        try:
            self._train()
        except StopRequested:
            with self.stopper.protected():
                if self.state.step:
                    self._save()
            raise
        except HookError:
            self._rescue()
            raise
        finally:
            self.seconds = time.perf_counter() - begun

    def _train(self) -> None:
        state = self.state
        if state.step == 0 and self.eval_sets and not state.before:
            metrics = self._evaluate(0)
            state.before = state.after = metrics
            self._report(0, metrics)
        if state.pending is not None:
            self._finish()
        while not self._is_last(state.step):
            with self.profiler.step(state.step + 1) if self.profiler else contextlib.nullcontext():
                self._step(state.step + 1)

    def _step(self, step: int) -> None:
        learner = self.learner
        before = copy.deepcopy((learner.pipeline.state_dict(), learner.history, learner.leftovers))
        learner.metrics = Metrics(self.profiler.span) if self.profiler else Metrics()
        learner.default_metrics, learner.sampled = Metrics(), Sampled()
        learner.pipeline.attach(learner.metrics.add)
        try:
            batch = collect(learner, step)
        except (StopRequested, HookError):
            self._give_up(*before)
            raise
        with self.stopper.protected():
            if batch is not None:
                self._learn(batch, step, before)
            with learner.metrics.span("record"):
                self.record.samples(step, learner.sampled.rows(batch))
            self.state.step, self.state.pending = step, step_metrics(learner)
            self._spent.add(step, self.state.pending)
            self.record.activity.step = step
            if not self._evaluates(step):
                self._finish()
        if self.state.pending is not None:
            self._finish()

    def _learn(self, batch: Batch, step: int, before: tuple[Any, Any, Any]) -> None:
        try:
            learn(self.learner, batch, step)
            check_weights(self.learner, self.record.directory, step)
        except HookError:
            # Of several updates the first ones may be in the weights.
            self._torn = self.learner.metrics.has("policy/grad_norm")
            if not self._torn:
                self._give_up(*before)
            raise

    def _give_up(self, components: Any, history: Any, leftovers: Any) -> None:
        """Leave a step before its update: as if it had not begun."""
        self.learner.history, self.learner.leftovers = history, leftovers
        self.learner.pipeline.load_state_dict(components)

    def _finish(self) -> None:
        """Evaluate and report the last step, and save it when a checkpoint is due."""
        state, span = self.state, self.learner.metrics.span
        step, metrics = state.step, dict(state.pending or {})
        if self._evaluates(step):
            with span("eval"):
                state.after = self._evaluate(step)
            metrics |= state.after
        with self.stopper.protected():
            with span("record"):
                self._report(step, metrics)
            state.pending = None
            every = self.config.checkpoint.every
            if self._is_last(step) or (every and step % every == 0):
                with span("checkpoint"):
                    self._save()

    def _evaluates(self, step: int) -> bool:
        return bool(self.eval_sets) and (step % self.config.eval.every == 0 or self._is_last(step))

    def _is_last(self, step: int) -> bool:
        """Whether the run ends with the step that was just done."""
        if step >= self.config.steps:
            return True
        self.ended_by = self._spent.enough(self.config) if step else ""
        return bool(self.ended_by)

    def _evaluate(self, step: int) -> dict[str, float]:
        learner = self.learner
        metrics: dict[str, float] = {}
        for index, eval_set in enumerate(self.eval_sets):
            self.reporter.phase("eval", index, len(self.eval_sets))
            seed = seed_for(self.config.seed, 4, index)
            summary, rows = evaluate(eval_set, learner.policy, learner.engine, self.config, step, seed)
            self.record.evaluation(eval_set.name, step, rows, summary)
            metrics |= summary["metrics"]
        return metrics

    def _report(self, step: int, metrics: dict[str, float]) -> None:
        self.record.metrics(step, metrics)
        self.reporter.observe("on_step_end", step=step, metrics=metrics)

    def _save(self) -> None:
        progress = (self.state.step, copy.deepcopy(self.state.extra()))
        if progress == self._saved and self.state.step in checkpoints(self.record.directory):
            return
        self.reporter.phase("checkpoint")
        checkpoint.save(self.learner, self.record.directory, *progress)
        self._saved = progress

    def _rescue(self) -> None:
        """Save the last whole step after a component failed, so that the run resumes there once the component is fixed."""
        step = self.state.step
        if not step or self._torn:
            return
        try:
            self._save()
        except DapoctlError as failure:
            # The component that failed may be the one that cannot save its state.
            self.reporter.warn(RunWarning(f"nothing was saved after step {step}: {failure}"))
