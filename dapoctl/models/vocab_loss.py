"""Losses over the vocabulary, a chunk of tokens at a time.

A [tokens, vocabulary] tensor never exists as a whole. The gradient of a chunk's loss with respect to its logits is taken
while the logits are there, so they are neither kept nor, where every loss looks at each token alone, computed twice.

Shapes: N tokens, n tokens of a chunk, D hidden size, V vocabulary entries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dapoctl.models.head import Head

CACHED_BYTES = 4 * 2**20
"""Of logits that fit a CPU's cache while their softmax is taken, one operation after the other"""
TokenLoss = Callable[[Tensor, Tensor, "Tensor | None", slice], Tensor]
"""(logprobs [n], entropy [n], ref_logprobs [n] or None, which tokens) -> loss [n]"""
VocabPenalty = Callable[[Tensor, Tensor], Tensor]
"""(logits [n, V], ref_logits [n, V]) -> penalty [n]"""


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


class Scratch:
    """Two [n, V] tensors that all chunks share: a fresh pair for each would cost more than the arithmetic on it."""

    def __init__(self, head: Head, rows: int) -> None:
        weight = head.linear.weight
        dtype = torch.promote_types(head.compute_dtype, torch.float32)
        self.logits, self.probs = (torch.empty(rows, len(weight), dtype=dtype, device=weight.device) for _ in range(2))


def distribution(logits: Tensor, targets: Tensor, temperature: float, probs: Tensor | None = None) -> Distribution:
    """Log-probabilities and entropy from logits [n, V], which are overwritten, and targets [n]; `probs` [n, V] is a buffer."""
    probs = torch.empty_like(logits) if probs is None else probs
    entropy = logits.new_empty(len(logits))
    on_cpu = logits.device.type == "cpu"
    at_once = CACHED_BYTES // (logits.element_size() * logits.shape[1]) if on_cpu else len(logits)
    for rows in chunks(len(logits), max(1, at_once)):
        log_p, p = logits[rows], probs[rows]
        if temperature != 1:
            log_p.div_(temperature)
        log_p.sub_(log_p.amax(-1, keepdim=True))
        torch.exp(log_p, out=p)
        total = p.sum(-1, keepdim=True)
        log_p.sub_(total.log())
        p.div_(total)
        entropy[rows] = -torch.linalg.vecdot(p, log_p)
    return Distribution(logits, logits.gather(1, targets[:, None])[:, 0], entropy, probs)


@torch.no_grad()
def token_logprobs(head: Head, hidden: Tensor, targets: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of `targets` [N] and entropies [N] from hidden states [N, D]; no gradient."""
    scratch = Scratch(head, min(chunk, len(targets)))
    logprobs, entropy = (torch.empty(len(targets), dtype=scratch.logits.dtype, device=hidden.device) for _ in range(2))
    with head.cast():
        for part in chunks(len(targets), chunk):
            dist = _distribution(head, hidden[part], targets[part], scratch)
            logprobs[part], entropy[part] = dist.logprobs, dist.entropy
    return logprobs, entropy


def _distribution(head: Head, hidden: Tensor, targets: Tensor, scratch: Scratch) -> Distribution:
    size = len(targets)
    return distribution(head.logits(hidden, scratch.logits[:size]), targets, head.temperature, scratch.probs[:size])


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
            ref_hidden: [N, D] of the reference, if a penalty needs it
        """
        hidden, weights = hidden.detach(), weights.detach()
        grad, total = torch.empty_like(hidden), weights.new_zeros(())
        whole = None if self.per_token else self._whole(hidden, targets, weights, ref_hidden)
        if whole is not None:
            total = total + whole[0]
        scratch = Scratch(self.head, min(self.chunk, len(targets)))
        with contextlib.ExitStack() as stack:
            for head in (self.head, self.ref_head):
                if head is not None:
                    stack.enter_context(head.cast())
            for part in chunks(len(targets), self.chunk):
                loss, grad[part] = self._chunk(
                    hidden[part], targets[part], weights[part], ref_hidden, part, whole, scratch
                )
                total = total + loss
        return total, grad

    def _whole(
        self, hidden: Tensor, targets: Tensor, weights: Tensor, ref_hidden: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        logprobs, entropy = token_logprobs(self.head, hidden, targets, self.chunk)
        ref = None
        if self.needs_ref_logprobs and ref_hidden is not None and self.ref_head is not None:
            ref, _ = token_logprobs(self.ref_head, ref_hidden, targets, self.chunk)
        return self._token_grads(logprobs, entropy, ref, weights, slice(0, len(targets)))

    def _token_grads(
        self, logprobs: Tensor, entropy: Tensor, ref: Tensor | None, weights: Tensor, part: slice
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(loss, its derivatives by log-probability and by entropy, None where no entropy is in it)."""
        with torch.enable_grad():
            logprobs, entropy = logprobs.detach().requires_grad_(), entropy.detach().requires_grad_()
            loss = (weights * self.token_loss(logprobs, entropy, ref, part)).sum()
            if not loss.requires_grad:
                return loss.detach(), torch.zeros_like(logprobs), None
            by_logprob, by_entropy = torch.autograd.grad(loss, (logprobs, entropy), allow_unused=True)
        return loss.detach(), torch.zeros_like(logprobs) if by_logprob is None else by_logprob, by_entropy

    @torch.no_grad()
    def _chunk(
        self,
        hidden: Tensor,
        targets: Tensor,
        weights: Tensor,
        ref_hidden: Tensor | None,
        part: slice,
        whole: tuple[Tensor, Tensor, Tensor | None] | None,
        scratch: Scratch,
    ) -> tuple[Tensor, Tensor]:
        size = len(targets)
        logits = self.head.logits(hidden, scratch.logits[:size])
        slope = self.head.slope(logits)
        ref_logits = None
        if ref_hidden is not None and self.ref_head is not None:
            ref_logits = self.ref_head.logits(ref_hidden[part])
        total, penalty_grad = self._penalty(logits, ref_logits, weights)
        dist = distribution(logits, targets, self.head.temperature, scratch.probs[:size])
        if whole is None:
            ref = None
            if self.needs_ref_logprobs and ref_logits is not None:
                ref = distribution(ref_logits, targets, self.head.temperature).logprobs
            loss, by_logprob, by_entropy = self._token_grads(dist.logprobs, dist.entropy, ref, weights, part)
            total = total + loss
        else:
            by_logprob, by_entropy = whole[1][part], None if whole[2] is None else whole[2][part]
        grad = logits_gradient(dist, targets, by_logprob, by_entropy, self.head.temperature)
        if penalty_grad is not None:
            grad += penalty_grad
        if slope is not None:
            grad *= slope
        return total, self.head.backward(hidden, grad)

    def _penalty(self, logits: Tensor, ref_logits: Tensor | None, weights: Tensor) -> tuple[Any, Tensor | None]:
        if self.vocab_penalty is None or ref_logits is None:
            return weights.new_zeros(()), None
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            loss = (weights * self.vocab_penalty(leaf, ref_logits)).sum()
            return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def logits_gradient(
    dist: Distribution, targets: Tensor, by_logprob: Tensor, by_entropy: Tensor | None, temperature: float
) -> Tensor:
    """d loss / d logits [n, V] from the loss's derivatives by the target's log-probability and by the entropy, [n] each; the
    latter is None where it is no part of the loss.

    d logp_t / d z = (onehot_t - p) / T and dH / dz = -p (log p + H) / T. `dist` is overwritten.
    """
    coefficient = -by_logprob[:, None]
    if by_entropy is not None:
        factor = dist.log_probs.add_(dist.entropy[:, None]).mul_(-by_entropy[:, None]).add_(coefficient)
        grad = dist.probs.mul_(factor)
    else:
        grad = dist.probs.mul_(coefficient)
    grad.scatter_add_(1, targets[:, None], by_logprob[:, None])
    return grad if temperature == 1 else grad.div_(temperature)


def chunks(length: int, size: int) -> Iterator[slice]:
    """Slices that cover `length` tokens."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
