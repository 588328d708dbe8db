"""Idea: which groups are worth training on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dapoctl import Batch, Component, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Idea(Component):
    """Leave out groups whose share of correct responses is above `most`: the policy solves these already."""

    most: float = Field(0.9, ge=0, lt=1)
    """The largest share of correct responses in a group that is trained on."""

    @hookimpl
    def filter_groups(self, batch: Batch) -> Tensor:
        return batch.group_mean(batch.correct.float()) <= self.most
