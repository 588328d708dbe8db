"""Correcting for a rollout engine whose distribution differs slightly from the trainer's."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar, Literal

from dapoctl_grpo.losses import MAX_LOG_RATIO
from pydantic import Field

from dapoctl import Component, Tokens, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.config import RunConfig


class TruncatedImportance(Component):
    """Weighs whatever policy loss there is by min(exp(old_logp - rollout_logp), cap), and no penalty.

    For engines whose log-probabilities are not the trainer's: other kernels or precision, or `rollout.top_p` below 1. A
    group from an earlier step has the weight 1, since the policy that sampled it is its old policy.
    """

    paper: ClassVar[str] = (
        "Yao et al. 2025, Your Efficient RL Framework Secretly Brings You Off-Policy RL Training"
        " (fengyao.notion.site/off-policy-rl); truncation: Ionides 2008, Truncated Importance Sampling, JCGS 17(2)"
    )
    differs: ClassVar[str] = (
        "The weight of a response, level `sequence`, is the product of its tokens' ratios, as in TRL."
    )

    level: Literal["token", "sequence"] = "token"
    """What has a weight of its own: every token, or every response (which is unbiased below the cap, and much noisier)."""
    cap: float = Field(2.0, gt=0)
    """C, the largest weight."""

    def is_per_token(self) -> bool:
        return self.level == "token"

    def cannot_act(self, config: RunConfig) -> str:
        if config.engine == "hf" and config.rollout.top_p == 1 and config.train.device == "cpu":
            return (
                "the engine `hf` on a CPU samples from the trainer's own distribution, so every weight is 1 up to rounding; it"
                " is for `engine` = vllm, a GPU, or `rollout.top_p` below 1"
            )
        return ""

    @hookimpl(wrapper=True)
    def policy_loss(self, tokens: Tokens) -> Generator[None, Tensor, Tensor]:
        loss = yield
        return loss * self._weights(tokens)

    def _weights(self, tokens: Tokens) -> Tensor:
        log_ratio = (tokens.old_logprobs - tokens.rollout_logprobs).detach()
        if self.level == "sequence":
            log_ratio = tokens.sequence_sum(log_ratio)
        ratio = log_ratio.clamp(max=MAX_LOG_RATIO).exp()
        weights = ratio.clamp(max=self.cap)
        self.log("weight_mean", weights)
        self.log("capped_fraction", (ratio > self.cap).float())
        # The core computes `importance_ess` from these two names, over the whole step.
        self.log("importance_weight", weights)
        self.log("importance_square", weights.square())
        return weights
