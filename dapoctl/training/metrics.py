"""What a step measures: running means and maxima under the field's names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

Span = Callable[[str], AbstractContextManager[None]]
"""A block that a profiler sees under a name"""


class Metrics:
    """Collects values by name; several values of one name are averaged, every tensor element counting the same.

    A profiler that watches gives `span`; without one, `span` blocks cost nothing.
    """

    def __init__(self, span: Span = lambda _name: nullcontext()) -> None:
        self.span = span
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}
        self._largest: dict[str, Tensor] = {}
        self._times: dict[str, float] = {}

    def add(self, name: str, values: Tensor | float) -> None:
        """Average `values`, a number or a tensor of any shape, into `name`."""
        if isinstance(values, (int, float)):
            total: Tensor | float = float(values)
            count = 1
        else:
            values = values.detach()
            total, count = values.double().sum(), values.numel()
        self._sums[name] = self._sums.get(name, 0.0) + total
        self._counts[name] = self._counts.get(name, 0) + count

    def largest(self, name: str, values: Tensor) -> None:
        """Keep the largest element ever given for `name`; NaN wins, so that it is seen."""
        if values.numel():
            top = values.detach().max()
            old = self._largest.get(name)
            # Not compared here, which would wait for the device.
            self._largest[name] = top if old is None else torch.maximum(top, old)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds that the block takes to `time/<name>`; it is a `span`, too."""
        start = time.perf_counter()
        try:
            with self.span(name):
                yield
        finally:
            self._times[name] = self._times.get(name, 0.0) + time.perf_counter() - start

    def seconds(self, name: str) -> float:
        """Seconds spent in `timed(name)` blocks."""
        return self._times.get(name, 0.0)

    def has(self, name: str) -> bool:
        """Whether `name` was added."""
        return name in self._sums

    def result(self) -> dict[str, float]:
        """Every metric by name, sorted; times last."""
        values = {name: float(self._sums[name]) / max(self._counts[name], 1) for name in self._sums}
        values |= {name: float(value) for name, value in self._largest.items()}
        times = {f"time/{name}": seconds for name, seconds in self._times.items()}
        return dict(sorted(values.items())) | dict(sorted(times.items()))
