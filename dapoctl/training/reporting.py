"""What happens in an attempt, told to the run's folder, to its components and to those who watch it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dapoctl.components.base import Component
from dapoctl.components.pipeline import Pipeline
from dapoctl.errors import HookError, RunWarning
from dapoctl.runs.record import RunRecord


class Reporter:
    """Passes on events, phases and warnings of one attempt."""

    def __init__(self, record: RunRecord, pipeline: Pipeline, observers: Sequence[Component]) -> None:
        self.record = record
        self.pipelines = [pipeline, *(Pipeline([observer]) for observer in observers)]
        self.warnings: list[str] = []
        """Those that are about the run, each once"""
        self._phases: dict[str, Callable[[str, int, int], None]] = {
            observer.name: observer.on_phase for observer in observers if hasattr(observer, "on_phase")
        }
        self._warned: set[str] = set()

    def observe(self, hook: str, **arguments: Any) -> None:
        """Call an observing hook of the run's components, then of the other observers."""
        for pipeline in self.pipelines:
            self.observe_in(pipeline, hook, **arguments)

    def observe_in(self, pipeline: Pipeline, hook: str, **arguments: Any) -> None:
        """Call an observing hook of one of `pipelines`.

        A display whose terminal or log cannot be written to is not called again, and the run goes on.
        """
        try:
            pipeline.observe(hook, **arguments)
        except HookError as failure:
            if pipeline is self.pipelines[0] or not isinstance(failure.__cause__, OSError):
                raise
            self._leave_out(next(iter(pipeline.components)), failure.__cause__)

    def phase(self, phase: str, done: int = 0, total: int = 0) -> None:
        """Say what is being worked on, and how far that is."""
        self.record.activity.note(phase, done, total)
        for name, report in [*self._phases.items()]:
            try:
                report(phase, done, total)
            except OSError as error:
                self._leave_out(name, error)

    def _leave_out(self, name: str, error: OSError) -> None:
        run, *others = self.pipelines
        self.pipelines = [run, *(other for other in others if name not in other.components)]
        self._phases.pop(name, None)
        self.warn(
            RunWarning(f"`{name}` cannot be written to ({error.strerror or error}); the run continues without it")
        )

    def warn(self, message: Warning | str, *_details: Any, **_more: Any) -> None:
        """Record a warning, once; the user sees those about the run, not a library's. Fits `warnings.showwarning`."""
        text = str(message)
        if text not in self._warned:
            self._warned.add(text)
            self.record.event("warning", message=text)
            if isinstance(message, RunWarning):
                self.warnings.append(text)
