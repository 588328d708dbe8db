"""Idea: a term of the reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dapoctl import Batch, Component, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Idea(Component):
    """Subtract `rate` for every token past `budget`."""

    budget: int = Field(32, ge=0)
    """Response tokens that cost nothing."""
    rate: float = Field(0.01, ge=0)
    """Reward lost per further token."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return -self.rate * (batch.lengths - self.budget).clamp(min=0)
