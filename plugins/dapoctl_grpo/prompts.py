"""Which prompts a step samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import PrivateAttr

from dapoctl import Component, PromptPool, hookimpl


class Uniform(Component):
    """Every prompt once per pass over the data, in an order shuffled anew for each pass."""

    _taken: int = PrivateAttr(default=0)

    @hookimpl
    def select_prompts(self, pool: PromptPool, count: int) -> list[int]:
        positions = range(self._taken, self._taken + count)
        self._taken += count
        orders = {epoch: self._order(pool, epoch) for epoch in {position // len(pool) for position in positions}}
        return [int(orders[position // len(pool)][position % len(pool)]) for position in positions]

    def _order(self, pool: PromptPool, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.random.default_rng([pool.seed, epoch]).permutation(len(pool))

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._taken = int(state["taken"])
