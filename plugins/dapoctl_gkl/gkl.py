"""Generalized Kullback-Leibler divergence (Cui et al. 2025, arXiv:2503.08038) between the policy and the reference.

The gradient of KL is that of a weighted mean squared error between logit differences plus that of a cross-entropy with
soft labels. GKL keeps both terms active and smooths the weights of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dapoctl_grpo.penalties import negligible
from pydantic import Field, PrivateAttr

from dapoctl import Component, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dapoctl.config import RunConfig


def weighted_mse(logits: Tensor, ref_logits: Tensor, weights: Tensor) -> Tensor:
    """1/2 Var_w(a) [n] with a = logits - ref_logits and weights [n, V] or [V] that sum to 1.

    A variance ignores shifts, so logits can replace log-probabilities, and if both are close their difference has no
    rounding error. The centred form is accurate at any vocabulary size; sum(w a^2) - sum(w a)^2 does not.
    """
    a = logits - ref_logits
    return (weights * (a - (weights * a).sum(-1, keepdim=True)).square()).sum(-1) / 2


def cross_entropy(logits: Tensor, ref_logits: Tensor, temperature: float) -> Tensor:
    """-sum softmax(ref / T) log_softmax(logits / T), [n]."""
    return -((ref_logits / temperature).softmax(-1) * (logits / temperature).log_softmax(-1)).sum(-1)


def cross_entropy_gap(logits: Tensor, ref_logits: Tensor, temperature: float) -> Tensor:
    """cross_entropy(logits) - cross_entropy(ref_logits) [n], which is KL(ref || policy).

    With a = log q - log p it is the sum of p (exp(a) - 1 - a): no term is negative, so a small gap is not the difference
    of two large sums. If they are far apart, q - p replaces p (exp(a) - 1), which would overflow.
    """
    log_p, log_q = (ref_logits / temperature).log_softmax(-1), (logits / temperature).log_softmax(-1)
    p, a = log_p.exp(), log_q - log_p
    return ((p * a.expm1()).where(a.abs() < 1, log_q.exp() - p) - p * a).sum(-1)


class Gkl(Component):
    """Generalized KL to the reference: coef * (beta * weighted MSE + alpha * cross-entropy)."""

    paper: ClassVar[str] = "Cui et al. 2025, Generalized Kullback-Leibler Divergence Loss, arXiv:2503.08038"
    differs: ClassVar[str] = (
        "Made for classifiers; here a token is a sample and the vocabulary the classes. Weights sum to 1 for each token, where"
        " the reference code has one denominator for a batch (`norm` = batch). `prior` = ema, a moving average of the"
        " reference's token distribution, stands for the paper's class-wise mean predictions and is our adaptation."
    )

    coef: float = Field(1e-2, ge=0)
    """Weight of the whole penalty."""
    alpha: float = Field(1.0, ge=0)
    """Weight of the cross-entropy."""
    beta: float = Field(1.0, ge=0)
    """Weight of the squared error."""
    gamma: float = Field(0.5, ge=0, le=1)
    """Smoothing of the squared error's weights: 0 is uniform over the vocabulary, 1 the reference's distribution."""
    temperature: float = Field(1.0, gt=0)
    """T, of the cross-entropy's two distributions."""
    weight_temperature: float = Field(1.0, gt=0)
    """T2, of the distribution that the weights are made from."""
    norm: Literal["token", "batch"] = "token"
    """Weights that sum to 1 for each token, or the reference code's common denominator, which couples the tokens of a
    loss chunk, so that the gradient depends on how the batch is cut."""
    prior: Literal["token", "ema"] = "token"
    """Weights from the reference's distribution at the token, or from its moving average over training tokens: our
    adaptation to language models of the paper's class-wise global weights."""
    ema_decay: float = Field(0.9, ge=0, lt=1)
    """Of the moving average, per step."""

    _average: Any = PrivateAttr(default=None)
    _sum: Any = PrivateAttr(default=None)
    _count: int = PrivateAttr(default=0)

    def cannot_act(self, config: RunConfig) -> str:  # noqa: ARG002 (as every component's)
        if self.coef == 0 or self.alpha == self.beta == 0:
            keys = f"`{self.name}.coef`" if self.coef == 0 else f"`{self.name}.alpha` and `{self.name}.beta`"
            return (
                f"with {keys} = 0 it is measured, and trains nothing; set {'it' if self.coef == 0 else 'one'} above 0"
            )
        return ""

    def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:
        return negligible(self.name, self.coef, metrics.get(f"policy/{self.name}", ()))

    @hookimpl
    def regularize_vocab(self, logits: Tensor, ref_logits: Tensor) -> Tensor:
        ref_logits = ref_logits.detach()
        log_weights = self.gamma * self._weight_source(ref_logits)
        mse = weighted_mse(logits, ref_logits, log_weights.softmax(-1))
        if self.norm == "batch":
            mass = log_weights.logsumexp(-1).exp().square().expand(mse.shape)
            mse = mse * mass / mass.mean()
        ce = cross_entropy(logits, ref_logits, self.temperature)
        gap = cross_entropy_gap(logits.detach(), ref_logits, self.temperature)
        self.log(f"policy/{self.name}", self.beta * mse.detach() + self.alpha * gap)
        self.log("wmse", mse.detach())
        self.log("cross_entropy_gap", gap)
        return self.coef * (self.beta * mse + self.alpha * ce)

    def _weight_source(self, ref_logits: Tensor) -> Tensor:
        log_probs = (ref_logits / self.weight_temperature).log_softmax(-1)
        if self.prior == "token":
            return log_probs
        total = log_probs.exp().sum(0)
        self._sum = total if self._sum is None else self._sum.to(total.device) + total
        self._count += len(ref_logits)
        if self._average is None:
            return log_probs
        average: Tensor = self._average.to(ref_logits.device)
        return average.clamp(min=1e-20).log()

    @hookimpl
    def on_step_end(self) -> None:
        # The average moves between steps only, so that it cannot depend on how a batch is cut.
        if self._count:
            mean = self._sum / self._count
            old = mean if self._average is None else self._average.to(mean.device)
            self._average = self.ema_decay * old + (1 - self.ema_decay) * mean
            self._sum, self._count = None, 0

    def state_dict(self) -> dict[str, Any]:
        # The sum is not empty if the run stops between a step's update and its end, during an evaluation.
        state = {} if self._average is None else {"average": self._average}
        return state | ({"sum": self._sum, "count": self._count} if self._count else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._average, self._sum = state.get("average"), state.get("sum")
        self._count = state.get("count", 0)
