"""Where a step's time goes: its phases by the clock, its operators by torch.profiler.

Recording an operator costs about as much as running a small one. So of the steps that are profiled only the last is
traced, and the phases are those of the others.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dapoctl.errors import UserError
from dapoctl.runs.files import SCHEMA, read_json, storage_errors, write_json

if TYPE_CHECKING:
    import torch
    from torch.profiler import profile

FOLDER, SUMMARY = "profile", "summary.json"
OPERATORS = 20
"""The operators that the summary names: those that take the longest."""
ROOT = ("step",)
OPERATOR, KERNELS = ("cpu_op",), ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of events in a trace"""
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
    _tracing: bool = False

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
        self._phases, self._path, self._tracing = {}, (), tracer is not None
        try:
            with self.span(ROOT[0]):
                yield
            self._timed[number] = self._phases
        finally:
            self._phases, self._tracing = None, False
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
            with self._range(name):
                begun = time.perf_counter()
                try:
                    yield
                finally:
                    self._synchronize()
                    phase.seconds += time.perf_counter() - begun
                    phase.calls += 1
        finally:
            self._path = outside

    def _range(self, name: str) -> contextlib.AbstractContextManager[Any]:
        if not self._tracing:
            return contextlib.nullcontext()
        from torch.profiler import record_function

        return record_function(name)

    def _synchronize(self) -> None:
        """Wait for the GPU: a phase is what it started, not when that was enqueued."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)

    def _start_tracer(self) -> profile:
        from torch.profiler import ProfilerActivity, profile

        # Otherwise the tracer tells stderr when it starts and stops.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])]
        tracer = profile(activities=activities)
        tracer.start()
        return tracer

    def _write(self, number: int, tracer: profile | None) -> None:
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
            self.announce()
            trace = self.directory / FOLDER / f"step_{number}.json.gz"
            events = export(tracer, trace)
            summary |= {
                "trace": str(trace.relative_to(self.directory)),
                "traced_step": number,
                "traced_seconds": self._timed[number][ROOT].seconds,
                "operators": operator_rows(events, self.device.type == "cuda"),
            }
        write_json(self.directory / FOLDER / SUMMARY, summary)
        self.summary = summary


def export(tracer: profile, path: Path) -> list[dict[str, Any]]:
    """Write the trace of a stopped `tracer`, gzipped, so that there is a whole one or none; its complete events."""
    with storage_errors(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        plain, packed = (path.with_name(f".{path.name}.{part}") for part in ("plain", "part"))
        for part in (plain, packed):
            stack.callback(part.unlink, missing_ok=True)
        tracer.export_chrome_trace(str(plain))
        content = plain.read_bytes()
        packed.write_bytes(gzip.compress(content, compresslevel=6))
        packed.replace(path)
    return [event for event in json.loads(content)["traceEvents"] if event.get("ph") == "X"]


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


def operator_rows(events: Iterable[Mapping[str, Any]], on_gpu: bool) -> list[dict[str, Any]]:
    """The operators of a trace that take the longest, without those inside them; on a GPU its kernels.

    `share` is of all operators. torch's own `key_averages` says the same, and takes minutes where a step has a million.
    """
    seconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    lanes: dict[Any, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("cat") in (KERNELS if on_gpu else OPERATOR):
            lanes.setdefault((event["pid"], event["tid"]), []).append(event)
            seconds[event["name"]] += event["dur"] / 1e6
            calls[event["name"]] += 1
    for lane in lanes.values() if not on_gpu else ():
        around: list[Mapping[str, Any]] = []
        for event in sorted(lane, key=lambda event: (event["ts"], -event["dur"])):
            while around and around[-1]["ts"] + around[-1]["dur"] <= event["ts"]:
                around.pop()
            if around:
                seconds[around[-1]["name"]] -= event["dur"] / 1e6
                # An operator that hands over to another backend's version of itself is one call.
                calls[event["name"]] -= around[-1]["name"] == event["name"]
            around.append(event)
    whole = sum(seconds.values())
    return [
        {"operator": name, "seconds": own, "share": own / whole, "calls": calls[name]}
        for name, own in seconds.most_common(OPERATORS)
    ]


def _mean(values: list[float] | list[int]) -> float:
    return sum(values) / len(values)
