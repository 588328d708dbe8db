"""Whether a component draws random numbers from a generator of its own.

Noise for each response of a batch is drawn in the order of the responses, so that another order gives other noise. That is
acceptable if the generator is seeded, which is a property of its own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
from torch.overrides import TorchFunctionMode

from dapoctl.components.pipeline import Pipeline
from dapoctl.testing.subject import call


class Draws(TorchFunctionMode):
    """Detects torch functions that are given a generator."""

    seen = False

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func` unchanged."""
        kwargs = kwargs or {}
        self.seen = self.seen or kwargs.get("generator") is not None
        return func(*args, **kwargs)


def draws(pipeline: Pipeline, hook: str, arguments: Mapping[str, Any], case: object) -> bool:
    """Whether a call of `hook` draws from a generator that it was given or has made: torch's, numpy's or Python's."""
    with (
        Draws() as torch_draws,
        _spied(np.random, "default_rng") as numpy_made,
        _spied(random, "Random") as python_made,
    ):
        call(pipeline, hook, arguments, case)
    return torch_draws.seen or numpy_made.called or python_made.called


@contextlib.contextmanager
def _spied(module: Any, name: str) -> Iterator[mock.Mock]:
    with mock.patch.object(module, name, side_effect=getattr(module, name)) as spy:
        yield spy
