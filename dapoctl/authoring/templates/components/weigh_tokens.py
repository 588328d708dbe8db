"""Idea: how much each token counts in the loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dapoctl import Batch, Component, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Idea(Component):
    """Between equal tokens (`power` 0) and equal responses (`power` 1): w = 1 / ((B |o_i|)^power tokens^(1 - power))."""

    power: float = Field(0.5, ge=0, le=1)
    """0 gives every token of the batch the same weight, 1 every response."""

    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        responses, tokens = max(batch.counts.responses, 1), max(batch.counts.tokens, 1)
        lengths = batch.mask.sum(dim=1, keepdim=True).clamp(min=1)
        return batch.mask / ((responses * lengths).pow(self.power) * math.pow(tokens, 1 - self.power))
