"""What torch.profiler records of a step: its operators one by one, as a file and as a table."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from dapoctl.runs.files import storage_errors

OPERATORS = 20
"""The operators that the summary names: those that take the longest."""
OPERATOR, KERNELS = ("cpu_op",), ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of events in a trace"""
CALLS = 2
"""Of a phase, such as the forward pass of a micro-batch, that a GPU's trace has. A step of a model of 4 billion weights has
hundreds, of 14,000 kernels each: 5 GB of trace, and 26 GB of memory to read it."""
NOT_TRACED = ("generate", "old_logprobs", "eval")
"""Phases that a GPU's trace leaves out: thousands of decoding steps, and forward passes that are like the others"""


class Tracer:
    """torch.profiler around a step, phase by phase."""

    def __init__(self, on_gpu: bool) -> None:
        # Otherwise it tells stderr when it starts and stops.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        self.calls = CALLS if on_gpu else None
        """Calls of a phase that are recorded; None for all"""
        self._activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        self._profile = profile(activities=self._activities)
        self._profile.start()
        self._paused = False

    @contextlib.contextmanager
    def phase(self, name: str, earlier: int) -> Iterator[None]:
        """Record the block as a phase of which there were `earlier` ones, unless that is enough of its kind."""
        enough = self.calls is not None and (earlier >= self.calls or name in NOT_TRACED)
        if not enough or self._paused:
            with contextlib.nullcontext() if self._paused else record_function(name):
                yield
            return
        self._collect(False)
        try:
            yield
        finally:
            self._collect(True)

    def _collect(self, on: bool) -> None:
        self._profile.toggle_collection_dynamic(on, self._activities)
        self._paused = not on

    def stop(self) -> None:
        """End the recording."""
        self._profile.stop()

    def export(self, path: Path) -> list[dict[str, Any]]:
        """`export` of what was recorded."""
        return export(self._profile, path)


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
