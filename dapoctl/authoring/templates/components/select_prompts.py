"""Idea: which prompts a step samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dapoctl import Component, PromptPool, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Idea(Component):
    """Prefer prompts that are solved now and then: draw in proportion to floor + s (1 - s), s the share solved."""

    floor: float = Field(0.05, gt=0)
    """Added to every prompt's weight, so that each can be drawn."""

    def weights(self, pool: PromptPool) -> NDArray[np.float64]:
        """A weight for each problem of the pool."""
        # One success and one failure are added, so that an unseen prompt counts as solved half the time.
        solved = (pool.solved + 1) / (pool.attempts + 2)
        return self.floor + solved * (1 - solved)

    @hookimpl
    def select_prompts(self, pool: PromptPool, count: int) -> list[int]:
        weights = self.weights(pool)
        drawn = pool.rng.choice(len(pool), count, replace=count > len(pool), p=weights / weights.sum())
        return [int(index) for index in drawn]
