"""Idea: which responses take part in the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dapoctl import Batch, Component, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Idea(Component):
    """No loss on responses of fewer than `least` tokens; they keep their place in their group's mean."""

    least: int = Field(4, ge=1)
    """Tokens of the shortest response that is trained on."""

    @hookimpl
    def mask_responses(self, batch: Batch) -> Tensor:
        return batch.lengths >= self.least
