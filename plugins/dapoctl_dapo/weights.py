"""Token-level loss: every token counts the same, so long responses count for more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dapoctl import Batch, Component, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class TokenMean(Component):
    """1 / all valid tokens of the optimizer batch, as DAPO's public code does."""

    paper: ClassVar[str] = "Yu et al. 2025, DAPO, arXiv:2503.14476, Sec. 3.3"
    differs: ClassVar[str] = (
        "The denominator is the optimizer batch's, as in the public code; that of Eq. 8 is the group's."
    )

    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        return batch.mask / max(batch.counts.tokens, 1)


class GroupTokenMean(Component):
    """1 / (P x tokens of the group), as DAPO's equation says."""

    paper: ClassVar[str] = "Yu et al. 2025, DAPO, arXiv:2503.14476, Eq. 8"

    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        tokens = batch.group_sum(batch.mask.sum(dim=1).float()).clamp(min=1)
        return batch.mask / (max(batch.counts.groups, 1) * tokens[batch.groups, None])
