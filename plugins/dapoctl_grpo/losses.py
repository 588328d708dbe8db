"""The clipped policy objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dapoctl import Component, Tokens, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dapoctl.config import RunConfig

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to +- this before exp, so that one wrong log-probability does not give infinity."""


def clipped_surrogate(tokens: Tokens, low: float, high: float) -> tuple[Tensor, Tensor]:
    """max(-A r, -A clip(r, 1 - low, 1 + high)) and the ratio r, both [N]."""
    ratio = (tokens.logprobs - tokens.old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    return surrogate(tokens.advantages, ratio, low, high), ratio


def surrogate(advantages: Tensor, ratio: Tensor, low: float, high: float) -> Tensor:
    """max(-A r, -A clip(r, 1 - low, 1 + high)), [N]."""
    return (-advantages * ratio).maximum(-advantages * ratio.clamp(1 - low, 1 + high))


def log_clipping(component: Component, tokens: Tokens, ratio: Tensor, low: float, high: float) -> None:
    """Record the fractions of tokens whose gradient is clipped."""
    component.log("policy/clip_fraction_low", ((ratio < 1 - low) & (tokens.advantages < 0)).float())
    component.log("policy/clip_fraction_high", ((ratio > 1 + high) & (tokens.advantages > 0)).float())


def clipped_nothing(metrics: Mapping[str, Sequence[float]]) -> str:
    """What to say of a run in which no token was clipped; empty if one was."""
    sides = [metrics.get(f"policy/clip_fraction_{side}", ()) for side in ("low", "high")]
    if any(map(any, sides)) or not any(sides):
        return ""
    return "clipped no token; raise `optim.updates` or `optim.lr`, or tighten its bounds"


def never_off_policy(config: RunConfig) -> str:
    """Why every ratio of the run is 1; empty if some are not."""
    stale = any(table.get("max_staleness") for table in config.components.values())
    if stale or min(config.optim.updates, config.rollout.prompts) > 1:
        return ""
    key, value = ("optim.updates", 1) if config.optim.updates == 1 else ("rollout.prompts", 1)
    return (
        f"with `{key}` = {value} there is one update from a step's responses, so the policy is the one that sampled them and"
        f" every ratio is 1; set {key} to 2 or more"
    )


class Clip(Component):
    """PPO's clipped surrogate with one bound for both sides."""

    paper: ClassVar[str] = "Schulman et al. 2017, PPO, arXiv:1707.06347, Eq. 7"
    differs: ClassVar[str] = (
        "Log-ratios are clamped to +-20, so that a broken pair of log-probabilities gives no infinity."
    )
    per_token: ClassVar[bool] = True

    eps: float = Field(0.2, gt=0, lt=1)
    """The ratio is clipped to [1 - eps, 1 + eps]."""

    def cannot_act(self, config: RunConfig) -> str:
        return never_off_policy(config)

    def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:
        return clipped_nothing(metrics)

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        loss, ratio = clipped_surrogate(tokens, self.eps, self.eps)
        log_clipping(self, tokens, ratio.detach(), self.eps, self.eps)
        return loss
