"""Where a step's time goes: its phases by the clock, its operators by torch.profiler.

Recording an operator costs about as much as running a small one. So of the steps that are profiled only the last is
traced, and the phases are those of the others.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dapoctl.errors import UserError
from dapoctl.runs.files import SCHEMA, read_json, write_json

if TYPE_CHECKING:
    import torch

    from dapoctl.training.tracing import Tracer

FOLDER, SUMMARY = "profile", "summary.json"
ROOT = ("step",)
OTHER = "other"
"""What a phase does outside the phases in it."""

Names = tuple[str, ...]
"""A phase: its name after those of the phases around it"""


@dataclass(frozen=True)
class Steps:
    """Which steps of a run to profile; by default two after the attempt's first, which is for warming up."""

    first: int | None = None
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`"3"` or `"3-5"`.

        Raises:
            UserError: it is neither.
        """
        first, dash, last = text.partition("-")
        numbers = (first, last) if dash else (first, first)
        if not all(number.strip().isdecimal() for number in numbers):
            raise UserError(f"--profile-steps {text!r}: give a step or the first and the last, such as 3 or 3-5")
        return cls(*(int(number) for number in numbers))

    def choose(self, done: int, steps: int) -> tuple[int, int]:
        """First and last step to profile of an attempt that begins after step `done` of `steps`.

        Raises:
            UserError: the attempt does not do these steps.
        """
        if self.first is None or self.last is None:
            return min(done + 2, steps), min(done + 3, steps)
        if not done < self.first <= self.last <= steps:
            there = f"steps {done + 1} to {steps}" if done + 1 < steps else f"step {steps}"
            raise UserError(
                f"--profile-steps {self.first}-{self.last}: this run does {there}; choose among them, first before last"
            )
        return self.first, self.last


def read_profile(directory: Path) -> dict[str, Any] | None:
    """The summary in a run's folder; None when the run was not profiled, or it is damaged."""
    found = read_json(directory / FOLDER / SUMMARY)
    return found if isinstance(found, dict) else None


@dataclass
class Phase:
    """Time spent in a phase, which is known by its own name and those of the phases around it."""

    seconds: float = 0.0
    calls: int = 0


@dataclass
class Profiler:
    """Times the phases of steps `first` to `last`, traces the last, and writes both to the run's folder.

    A step that does not end leaves nothing.
    """

    directory: Path
    first: int
    last: int
    device: torch.device
    peak_memory: Callable[[], float]
    announce: Callable[[], None] = lambda: None
    """Called before the trace is written, which may take a while"""
    summary: dict[str, Any] | None = None
    """What `profile/summary.json` holds; None before the first step is profiled"""
    _timed: dict[int, dict[Names, Phase]] = field(default_factory=dict)
    _phases: dict[Names, Phase] | None = None
    """Of the step that is being profiled"""
    _path: Names = ()
    _tracer: Tracer | None = None

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Profile the block, which is step `number`, if that is one of those asked for.

        Raises:
            StorageError: the profile cannot be written.
        """
        if not self.first <= number <= self.last:
            yield
            return
        tracer = self._start_tracer() if number == self.last else None
        self._phases, self._path, self._tracer = {}, (), tracer
        try:
            with self.span(ROOT[0]):
                yield
            self._timed[number] = self._phases
        finally:
            self._phases, self._tracer = None, None
            if tracer is not None:
                tracer.stop()
        self._write(number, tracer)

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time the block as a phase inside the one that is open; outside of profiled steps, nothing happens."""
        if self._phases is None:
            yield
            return
        outside, self._path = self._path, (*self._path, name)
        phase = self._phases.setdefault(self._path, Phase())
        self._synchronize()
        try:
            with self._tracer.phase(name, phase.calls) if self._tracer else contextlib.nullcontext():
                begun = time.perf_counter()
                try:
                    yield
                finally:
                    self._synchronize()
                    phase.seconds += time.perf_counter() - begun
                    phase.calls += 1
        finally:
            self._path = outside

    def _synchronize(self) -> None:
        """Wait for the GPU: a phase is what it started, not when that was enqueued."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)

    def _start_tracer(self) -> Tracer:
        from dapoctl.training.tracing import Tracer

        return Tracer(self.device.type == "cuda")

    def _write(self, number: int, tracer: Tracer | None) -> None:
        timed = {step: phases for step, phases in self._timed.items() if step != self.last} or self._timed
        summary = {
            "schema": SCHEMA,
            "steps": sorted(timed),
            "device": str(self.device),
            "seconds": _mean([phases[ROOT].seconds for phases in timed.values()]),
            "phases": phase_rows([*timed.values()]),
            "memory_peak_bytes": self.peak_memory(),
        }
        if tracer is not None:
            from dapoctl.training.tracing import operator_rows

            self.announce()
            trace = self.directory / FOLDER / f"step_{number}.json.gz"
            events = tracer.export(trace)
            summary |= {
                "trace": str(trace.relative_to(self.directory)),
                "traced_step": number,
                "traced_calls": tracer.calls,
                "traced_seconds": self._timed[number][ROOT].seconds,
                "operators": operator_rows(events, self.device.type == "cuda"),
            }
        write_json(self.directory / FOLDER / SUMMARY, summary)
        self.summary = summary


def phase_rows(steps: list[dict[Names, Phase]]) -> list[dict[str, Any]]:
    """The phases of a mean step, each followed by those in it and by what is left; the seconds of a level add up.

    `share` is of the step.
    """
    paths = list(dict.fromkeys(path for phases in steps for path in phases))
    seconds = {path: _mean([phases.get(path, Phase()).seconds for phases in steps]) for path in paths}
    calls = {path: _mean([phases.get(path, Phase()).calls for phases in steps]) for path in paths}
    whole = seconds[ROOT] or 1.0

    def row(path: Names, took: float, times: float) -> dict[str, Any]:
        return {"phase": "/".join(path[1:]), "seconds": took, "share": took / whole, "calls": times}

    def below(path: Names) -> Iterator[dict[str, Any]]:
        inner = [other for other in paths if other[:-1] == path]
        for child in inner:
            yield row(child, seconds[child], calls[child])
            yield from below(child)
        if inner:
            yield row((*path, OTHER), seconds[path] - sum(seconds[child] for child in inner), calls[path])

    return list(below(ROOT))


def _mean(values: list[float] | list[int]) -> float:
    return sum(values) / len(values)
