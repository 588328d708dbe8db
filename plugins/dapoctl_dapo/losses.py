"""Clip-higher: room for unlikely tokens to become likely."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dapoctl_grpo.losses import clipped_nothing, clipped_surrogate, log_clipping, never_off_policy
from pydantic import Field

from dapoctl import Component, Tokens, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dapoctl.config import RunConfig


class ClipHigher(Component):
    """The clipped surrogate with a higher upper bound."""

    paper: ClassVar[str] = (
        "Yu et al. 2025, DAPO, arXiv:2503.14476, Sec. 3.1, Eq. 10; dual clip: Ye et al. 2020, arXiv:1912.09729"
    )
    differs: ClassVar[str] = "The paper has no dual clip; its public scripts set it to 10, which is `dual_clip` here."
    per_token: ClassVar[bool] = True

    eps_low: float = Field(0.2, gt=0, lt=1)
    """The ratio is clipped from below at 1 - eps_low."""
    eps_high: float = Field(0.28, gt=0)
    """The ratio is clipped from above at 1 + eps_high."""
    dual_clip: float | None = Field(None, gt=1)
    """c: for a negative advantage the loss is at most -A c. The paper has none; its public scripts use 10."""

    def cannot_act(self, config: RunConfig) -> str:
        return never_off_policy(config)

    def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:
        return clipped_nothing(metrics)

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        loss, ratio = clipped_surrogate(tokens, self.eps_low, self.eps_high)
        log_clipping(self, tokens, ratio.detach(), self.eps_low, self.eps_high)
        if self.dual_clip is None:
            return loss
        return loss.minimum(-tokens.advantages * self.dual_clip).where(tokens.advantages < 0, loss)
