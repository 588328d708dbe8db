"""Idea: advantages from rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dapoctl import Batch, Component, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Idea(Component):
    """Reward minus the group's mean, times `below` if negative: learn less from responses that are worse than the mean."""

    below: float = Field(0.5, ge=0)
    """Weight of negative advantages; 1 treats both signs alike."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        deviation = batch.rewards - batch.group_mean(batch.rewards)[batch.groups]
        return deviation.where(deviation > 0, self.below * deviation)
