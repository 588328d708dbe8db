"""Distances from the reference policy, and the entropy bonus."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dapoctl import Component, Tokens, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dapoctl.config import RunConfig


NEGLIGIBLE = 1e-3
"""Of an advantage, which is about 1 where it is divided by its group's deviation"""


def negligible(name: str, coef: float, values: Sequence[float]) -> str:
    """What to say of a penalty that never grew beside the advantages; empty if it did.

    Args:
        values: what is penalised in each step, before its coefficient
    """
    largest = coef * max(map(abs, values), default=0.0)
    if not values or largest >= NEGLIGIBLE:
        return ""
    return f"penalised nothing to speak of: at most {largest:.1g} per token, where an advantage is about 1; raise `{name}.coef`"


class _Penalty(Component):
    coef: float = Field(1e-2, ge=0)
    """Weight of the penalty."""

    def cannot_act(self, config: RunConfig) -> str:  # noqa: ARG002 (as every component's)
        return f"`{self.name}.coef` = 0: it is measured, and trains nothing; set it above 0" if self.coef == 0 else ""

    def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:
        return negligible(self.name, self.coef, metrics.get(f"policy/{self.name}", ()))


class Kl(_Penalty):
    """Divergence from the reference estimated on the sampled token, d = logp - ref_logp."""

    paper: ClassVar[str] = (
        "Schulman 2020, Approximating KL Divergence (joschu.net/blog/kl-approx.html); as a penalty: Shao et al. 2024,"
        " arXiv:2402.03300, Eq. 4"
    )
    differs: ClassVar[str] = (
        "The estimates are of a value; differentiated as a loss on the policy's own samples, k1 has no gradient on average, k2"
        " that of KL(policy || reference), k3 that of KL(reference || policy). DeepSeekMath's coefficient is 0.04."
    )
    uses: ClassVar[frozenset[str]] = frozenset({"ref_logprobs"})
    per_token: ClassVar[bool] = True

    estimator: Literal["k1", "k2", "k3"] = "k3"
    """k1 = d; k2 = d^2 / 2; k3 = exp(-d) - 1 + d, unbiased and never negative."""

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        difference = tokens.logprobs - tokens.ref_logprobs
        if self.estimator == "k1":
            estimate = difference
        elif self.estimator == "k2":
            estimate = difference.square() / 2
        else:
            # Clamped as a whole: no overflow, and no gradient of the wrong sign beyond the clamp.
            bounded = difference.clamp(min=-20.0)
            estimate = (-bounded).expm1() + bounded
        self.log(f"policy/{self.name}", estimate.detach())
        return self.coef * estimate


class KlFull(_Penalty):
    """The exact divergence over the vocabulary."""

    direction: Literal["forward", "reverse"] = "reverse"
    """forward: KL(reference || policy), covers the reference; reverse: KL(policy || reference), the usual one in RL."""

    @hookimpl
    def regularize_vocab(self, logits: Tensor, ref_logits: Tensor) -> Tensor:
        policy, reference = logits.log_softmax(-1), ref_logits.log_softmax(-1)
        first, second = (reference, policy) if self.direction == "forward" else (policy, reference)
        divergence = (first.exp() * (first - second)).sum(-1)
        self.log(f"policy/{self.name}", divergence.detach())
        return self.coef * divergence


class EntropyBonus(_Penalty):
    """Reward for uncertainty: minus `coef` times the entropy of the policy's next-token distribution."""

    paper: ClassVar[str] = "Mnih et al. 2016, A3C, arXiv:1602.01783, Sec. 4"
    uses: ClassVar[frozenset[str]] = frozenset({"entropy"})
    per_token: ClassVar[bool] = True

    coef: float = Field(1e-3, ge=0)
    """Weight of the bonus."""

    def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:
        return negligible(self.name, self.coef, metrics.get("policy/entropy", ()))

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        return -self.coef * tokens.entropy
