"""What happens in an attempt, told to the run's folder, to its components and to those who watch it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dapoctl.components.base import Component
from dapoctl.components.pipeline import Pipeline
from dapoctl.errors import RunWarning
from dapoctl.runs.record import RunRecord


class Reporter:
    """Passes on events, phases and warnings of one attempt."""

    def __init__(self, record: RunRecord, pipeline: Pipeline, observers: Sequence[Component]) -> None:
        self.record = record
        self.pipelines = (pipeline, Pipeline(list(observers)))
        self.warnings: list[str] = []
        """Those that are about the run, each once"""
        self._phases: list[Callable[[str, int, int], None]] = [
            observer.on_phase for observer in observers if hasattr(observer, "on_phase")
        ]
        self._warned: set[str] = set()

    def observe(self, hook: str, **arguments: Any) -> None:
        """Call an observing hook of the run's components, then of the other observers."""
        for pipeline in self.pipelines:
            pipeline.observe(hook, **arguments)

    def phase(self, phase: str, done: int = 0, total: int = 0) -> None:
        """Say what is being worked on, and how far that is."""
        self.record.activity.note(phase, done, total)
        for report in self._phases:
            report(phase, done, total)

    def warn(self, message: Warning | str, *_details: Any, **_more: Any) -> None:
        """Record a warning, once; the user sees those about the run, not a library's. Fits `warnings.showwarning`."""
        text = str(message)
        if text not in self._warned:
            self._warned.add(text)
            self.record.event("warning", message=text)
            if isinstance(message, RunWarning):
                self.warnings.append(text)
