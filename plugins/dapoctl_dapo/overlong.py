"""What to do about responses that reach the token limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dapoctl import Batch, Component, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.config import RunConfig


class Overlong(Component):
    """Soft punishment: a reward that falls from 0 to -factor over the last `buffer` tokens before the limit."""

    paper: ClassVar[str] = "Yu et al. 2025, DAPO, arXiv:2503.14476, Sec. 3.4, Eq. 13"
    differs: ClassVar[str] = "The default buffer is a fifth of the run's limit; the paper's is 4096 of 20480 tokens."

    buffer: int | None = Field(None, ge=1)
    """Tokens before the limit over which the punishment grows; by default a fifth of the limit, the paper's 4096 of 20480."""
    factor: float = Field(1.0, ge=0)
    """The largest punishment."""

    def check_run(self, config: RunConfig) -> None:
        limit = config.rollout.max_response_tokens
        if self.buffer is not None and self.buffer > limit:
            raise UserError(
                f"`{self.name}.buffer` = {self.buffer}: must be at most `rollout.max_response_tokens` = {limit}, or every"
                " response is punished"
            )

    def cannot_act(self, config: RunConfig) -> str:  # noqa: ARG002 (as every component's)
        return f"`{self.name}.factor` = 0 punishes nothing; set it above 0" if self.factor == 0 else ""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        buffer = self.buffer or max(batch.max_response_tokens // 5, 1)
        excess = batch.lengths - (batch.max_response_tokens - buffer)
        return -(excess / buffer).clamp(0, 1) * self.factor


class OverlongFilter(Component):
    """No loss on truncated responses; they keep their place in their group's mean."""

    paper: ClassVar[str] = "Yu et al. 2025, DAPO, arXiv:2503.14476, Sec. 3.4"
    differs: ClassVar[str] = (
        "Truncated responses stay in their group's mean and standard deviation, which the paper does not specify."
    )

    @hookimpl
    def mask_responses(self, batch: Batch) -> Tensor:
        return ~batch.truncated
