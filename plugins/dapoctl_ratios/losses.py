"""Policy objectives whose importance ratio is not PPO's clipped one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dapoctl_grpo.losses import MAX_LOG_RATIO, clipped_nothing, log_clipping, never_off_policy, surrogate
from pydantic import Field

from dapoctl import Component, Tokens, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dapoctl.config import RunConfig


class Gspo(Component):
    """The clipped surrogate with one ratio for a whole response: the geometric mean of its tokens' ratios.

    With one optimizer update per step every ratio is 1 and the gradient is that of `clip`. The bounds are for several
    updates (`optim.updates`; the paper makes 4), where they cut off far more than bounds on single tokens do.
    """

    paper: ClassVar[str] = "Zheng et al. 2025, GSPO, arXiv:2507.18071, Eq. 5 and 7; variant `token`: Sec. 4.3"
    differs: ClassVar[str] = (
        "The mean over a response's tokens and over responses is the stage `weigh_tokens`: `sequence_mean` gives the"
        " paper's objective, other weights count a response as often as it has weight."
    )

    eps_low: float = Field(3e-4, gt=0, lt=1)
    """A response's ratio is clipped from below at 1 - eps_low."""
    eps_high: float = Field(4e-4, gt=0)
    """A response's ratio is clipped from above at 1 + eps_high."""
    variant: Literal["sequence", "token"] = "sequence"
    """token (GSPO-token): every token has its response's ratio as value and its own log-probability's gradient, so that
    advantages may differ within a response. Where they do not, and its tokens weigh the same, the gradient is the same."""

    def cannot_act(self, config: RunConfig) -> str:
        return never_off_policy(config)

    def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:
        return clipped_nothing(metrics)

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        mean = tokens.sequence_mean(tokens.logprobs - tokens.old_logprobs)
        if self.variant == "token":
            mean = mean.detach() + (tokens.logprobs - tokens.logprobs.detach())
        ratio = mean.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
        log_clipping(self, tokens, ratio.detach(), self.eps_low, self.eps_high)
        self.log("policy/sequence_ratio_mean", ratio)
        return surrogate(tokens.advantages, ratio, self.eps_low, self.eps_high)


class Cispo(Component):
    """REINFORCE with a capped importance weight, -stopgrad(min(r, 1 + eps_high)) A logp: no token's gradient is cut off."""

    paper: ClassVar[str] = "MiniMax 2025, MiniMax-M1, arXiv:2506.13585, Eq. 4 and 5"
    differs: ClassVar[str] = (
        "The paper tunes eps_high and does not print it; the default caps the weight at 5, as Khatri et al. 2025"
        " (arXiv:2510.13786) and TRL do. Its mean over a group's tokens is the component `group_token_mean`."
    )
    per_token: ClassVar[bool] = True

    eps_high: float = Field(4.0, gt=0)
    """The weight is capped at 1 + eps_high. TRL's `epsilon_high` is the cap itself."""
    eps_low: float | None = Field(None, gt=0, le=1)
    """The weight is at least 1 - eps_low; without it there is no lower bound, as in the paper's experiments."""

    def cannot_act(self, config: RunConfig) -> str:
        return never_off_policy(config)

    def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:
        return clipped_nothing(metrics)

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        log_ratio = tokens.logprobs.detach() - tokens.old_logprobs
        ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
        lowest = 0.0 if self.eps_low is None else 1 - self.eps_low
        self.log("policy/clip_fraction_low", (ratio < lowest).float())
        self.log("policy/clip_fraction_high", (ratio > 1 + self.eps_high).float())
        return -ratio.clamp(lowest, 1 + self.eps_high) * tokens.advantages * tokens.logprobs
