"""From hidden states to log-probabilities and back, a chunk of tokens at a time.

A [tokens, vocabulary] tensor never exists as a whole. The gradient of a chunk's loss with respect to its logits is taken
while the logits are there, so they are neither kept nor, where every loss looks at each token alone, computed twice.

Shapes: N tokens, n tokens of a chunk, D hidden size, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dapoctl.errors import ModelError

if TYPE_CHECKING:
    from dapoctl.policy import Policy

CHUNK_BYTES = (64 * 2**20, 512 * 2**20)
"""Of one chunk's logits, on a CPU and on a GPU: beyond these, more at once gains no speed"""
TokenLoss = Callable[[Tensor, Tensor, "Tensor | None", slice], Tensor]
"""(logprobs [n], entropy [n], ref_logprobs [n] or None, which tokens) -> loss [n]"""
VocabPenalty = Callable[[Tensor, Tensor], Tensor]
"""(logits [n, V], ref_logits [n, V]) -> penalty [n]"""


@dataclass
class Head:
    """The output projection, the soft cap that some models put on logits, and the sampling temperature."""

    linear: nn.Linear
    softcap: float | None
    temperature: float
    compute_dtype: torch.dtype

    def logits(self, hidden: Tensor) -> Tensor:
        """Raw float32 logits [n, V], as the model defines them."""
        logits = nn.functional.linear(
            hidden.to(self.compute_dtype), self.linear.weight.to(self.compute_dtype), self._bias()
        ).float()
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits

    def _bias(self) -> Tensor | None:
        return None if self.linear.bias is None else self.linear.bias.to(self.compute_dtype)

    @torch.no_grad()
    def check(self, policy: Policy) -> None:
        """Hold `logits` against the model's own forward pass.

        Raises:
            ModelError: the model does something to its logits that is not known here.
        """
        ids = torch.arange(1, 9, device=policy.device)[None]
        mask = torch.ones_like(ids)
        extra = {}
        if policy.model.config.model_type != policy.model.config.get_text_config().model_type:
            extra["token_type_ids"] = torch.zeros_like(ids)
        with policy.autocast():
            own = policy.model(input_ids=ids, attention_mask=mask, **extra).logits.float()
        ours = self.logits(policy.hidden(ids, mask).last_hidden_state)
        scale = own.abs().max().clamp(min=1)
        if (own - ours).abs().max() > 0.05 * scale:
            raise ModelError(
                f"`model.path` = {policy.path!r}: models of type {policy.model.config.model_type} transform their logits"
                " in a way that dapoctl does not know, so log-probabilities would be wrong"
            )

    def backward(self, hidden: Tensor, logits: Tensor, grad: Tensor) -> Tensor:
        """The gradient for hidden [n, D] from `grad` [n, V] with respect to `logits`; the weight's is added to `.grad`.

        `grad` is overwritten.
        """
        if self.softcap is not None:
            grad *= 1 - (logits / self.softcap).square()
        grad = grad.to(self.compute_dtype)
        weight: Tensor = self.linear.weight
        if weight.requires_grad:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            source = hidden.to(self.compute_dtype)
            if weight.dtype == self.compute_dtype:
                weight.grad.addmm_(grad.T, source)
            else:
                weight.grad += grad.T @ source
        if self.linear.bias is not None and self.linear.bias.requires_grad:
            bias = self.linear.bias
            bias.grad = grad.sum(0, dtype=bias.dtype) + (0 if bias.grad is None else bias.grad)
        return (grad @ weight.to(self.compute_dtype)).to(hidden.dtype)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A chunk's next-token distribution, tempered."""

    log_probs: Tensor
    """[n, V]"""
    logprobs: Tensor
    """[n] of the targets"""
    entropy: Tensor
    """[n]"""
    probs: Tensor
    """[n, V]"""


def distribution(logits: Tensor, targets: Tensor, temperature: float) -> Distribution:
    """log-probabilities and entropy from logits [n, V] and targets [n]."""
    log_probs = torch.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)
    probs = log_probs.exp()
    entropy = -torch.linalg.vecdot(probs, log_probs)
    return Distribution(log_probs, log_probs.gather(1, targets[:, None])[:, 0], entropy, probs)


def chunk_size(head: Head, wanted: int | None) -> int:
    """`wanted`, or as many tokens as keep their float32 logits within `CHUNK_BYTES`."""
    weight: Tensor = head.linear.weight
    return wanted or max(1, CHUNK_BYTES[weight.device.type == "cuda"] // (4 * weight.shape[0]))


def chunks(length: int, size: int) -> Iterator[slice]:
    """Slices that cover `length` tokens."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


@torch.no_grad()
def token_logprobs(head: Head, hidden: Tensor, targets: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of `targets` [N] and entropies [N] from hidden states [N, D]; no gradient."""
    logprobs, entropy = hidden.new_empty(len(targets), dtype=torch.float32), hidden.new_empty(len(targets)).float()
    for part in chunks(len(targets), chunk):
        dist = distribution(head.logits(hidden[part]), targets[part], head.temperature)
        logprobs[part], entropy[part] = dist.logprobs, dist.entropy
    return logprobs, entropy


@dataclass
class HeadLoss:
    """A weighted sum of per-token losses over hidden states, and its gradient."""

    head: Head
    token_loss: TokenLoss
    chunk: int
    per_token: bool
    """Whether `token_loss` may be called on any slice of the tokens"""
    vocab_penalty: VocabPenalty | None = None
    ref_head: Head | None = None
    needs_ref_logprobs: bool = False

    def backward(
        self, hidden: Tensor, targets: Tensor, weights: Tensor, ref_hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss and its gradient [N, D] for `hidden` [N, D]; the head's own gradient is added to its weights.

        Args:
            hidden: [N, D] hidden states, one per token
            targets: [N] tokens
            weights: [N]; the loss is sum(weights * per-token loss)
            ref_hidden: [N, D] of the reference, when a penalty asks for it
        """
        hidden, weights = hidden.detach(), weights.detach()
        grad, total = torch.empty_like(hidden), weights.new_zeros(())
        whole = None if self.per_token else self._whole(hidden, targets, weights, ref_hidden)
        if whole is not None:
            total = total + whole[0]
        for part in chunks(len(targets), self.chunk):
            loss, grad[part] = self._chunk(hidden[part], targets[part], weights[part], ref_hidden, part, whole)
            total = total + loss
        return total, grad

    def _whole(
        self, hidden: Tensor, targets: Tensor, weights: Tensor, ref_hidden: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        logprobs, entropy = token_logprobs(self.head, hidden, targets, self.chunk)
        ref = None
        if self.needs_ref_logprobs and ref_hidden is not None and self.ref_head is not None:
            ref, _ = token_logprobs(self.ref_head, ref_hidden, targets, self.chunk)
        return self._token_grads(logprobs, entropy, ref, weights, slice(0, len(targets)))

    def _token_grads(
        self, logprobs: Tensor, entropy: Tensor, ref: Tensor | None, weights: Tensor, part: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            logprobs, entropy = logprobs.detach().requires_grad_(), entropy.detach().requires_grad_()
            loss = (weights * self.token_loss(logprobs, entropy, ref, part)).sum()
            if not loss.requires_grad:
                return loss.detach(), torch.zeros_like(logprobs), torch.zeros_like(entropy)
            by_logprob, by_entropy = torch.autograd.grad(
                loss, (logprobs, entropy), allow_unused=True, materialize_grads=True
            )
        return loss.detach(), by_logprob, by_entropy

    @torch.no_grad()
    def _chunk(
        self,
        hidden: Tensor,
        targets: Tensor,
        weights: Tensor,
        ref_hidden: Tensor | None,
        part: slice,
        whole: tuple[Tensor, Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        logits = self.head.logits(hidden)
        ref_logits = None
        if ref_hidden is not None and self.ref_head is not None:
            ref_logits = self.ref_head.logits(ref_hidden[part])
        total, penalty_grad = self._penalty(logits, ref_logits, weights)
        dist = distribution(logits, targets, self.head.temperature)
        if whole is None:
            ref = None
            if self.needs_ref_logprobs and ref_logits is not None:
                ref = distribution(ref_logits, targets, self.head.temperature).logprobs
            loss, by_logprob, by_entropy = self._token_grads(dist.logprobs, dist.entropy, ref, weights, part)
            total = total + loss
        else:
            by_logprob, by_entropy = whole[1][part], whole[2][part]
        grad = logits_gradient(dist, targets, by_logprob, by_entropy, self.head.temperature)
        if penalty_grad is not None:
            grad += penalty_grad
        return total, self.head.backward(hidden, logits, grad)

    def _penalty(self, logits: Tensor, ref_logits: Tensor | None, weights: Tensor) -> tuple[Any, Tensor | None]:
        if self.vocab_penalty is None or ref_logits is None:
            return weights.new_zeros(()), None
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            loss = (weights * self.vocab_penalty(leaf, ref_logits)).sum()
            return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def logits_gradient(
    dist: Distribution, targets: Tensor, by_logprob: Tensor, by_entropy: Tensor, temperature: float
) -> Tensor:
    """d loss / d logits [n, V] from the loss's derivatives by the target's log-probability and by the entropy, [n] each.

    d logp_t / d z = (onehot_t - p) / T and dH / dz = -p (log p + H) / T. `dist.probs` is overwritten.
    """
    coefficient = -by_logprob[:, None]
    if bool(by_entropy.any()):
        grad = dist.probs.mul_(coefficient - by_entropy[:, None] * (dist.log_probs + dist.entropy[:, None]))
    else:
        grad = dist.probs.mul_(coefficient)
    grad.scatter_add_(1, targets[:, None], by_logprob[:, None])
    return grad if temperature == 1 else grad.div_(temperature)
