"""Token weights w with loss = sum(w * l)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dapoctl import Batch, Component, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class SequenceMean(Component):
    """1 / (B |o_i|): every response counts the same, whatever its length."""

    paper: ClassVar[str] = "Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, Eq. 3"

    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        tokens = batch.mask.sum(dim=1, keepdim=True).clamp(min=1)
        return batch.mask / (max(batch.counts.responses, 1) * tokens)


class ConstantLength(Component):
    """1 / (B L_max): every token counts the same in every batch, without a bias towards short wrong answers."""

    paper: ClassVar[str] = "Liu et al. 2025, Understanding R1-Zero-Like Training, arXiv:2503.20783, Sec. 3.2"
    differs: ClassVar[str] = (
        "The paper's equation has no such divisor; its code divides by a constant, the limit on tokens."
    )

    length: int | None = Field(None, ge=1)
    """L_max in tokens; by default the run's `rollout.max_response_tokens`."""

    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        return batch.mask / (max(batch.counts.responses, 1) * (self.length or batch.max_response_tokens))
