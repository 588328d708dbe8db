"""Losses and penalties that are wrong on purpose, each in one way; see wrong_components.py."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dapoctl import Component, Tokens, hookimpl
from tests.support.wrong_components import breaks


@breaks("device")
class OnTheProcessor(Component):
    """New tensors on the default device."""

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        return tokens.logprobs * torch.ones(len(tokens.logprobs))


@breaks("device")
class SumsOnTheProcessor(Component):
    """New tensors on the default device, in a loss over the vocabulary."""

    @hookimpl
    def regularize_vocab(self, logits: Tensor, ref_logits: Tensor) -> Tensor:
        total = torch.zeros(len(logits), dtype=logits.dtype)
        return total.index_add(0, torch.arange(len(logits)), (logits - ref_logits).square().mean(-1))


@breaks("finite")
class Unclamped(Component):
    """An importance ratio without bounds."""

    per_token: ClassVar[bool] = True

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        return -tokens.advantages * (tokens.logprobs - tokens.old_logprobs).exp()


@breaks("read_only")
class ClampsInput(Component):
    """Clamps the log-probabilities of every other penalty."""

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        return 0.1 * (tokens.logprobs - tokens.old_logprobs.clamp_(min=-1.5))


@breaks("cut")
class MicroBatchMean(Component):
    """Normalises over whatever is in the micro-batch."""

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        scale = tokens.advantages.abs().mean() + 1e-6
        return -tokens.advantages / scale * tokens.logprobs


@breaks("cut")
class TopFifth(Component):
    """Trains on the fifth of the micro-batch's tokens with the highest entropy."""

    uses: ClassVar[frozenset[str]] = frozenset({"entropy"})

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        keep = tokens.entropy >= tokens.entropy.quantile(0.8)
        return -tokens.advantages * tokens.logprobs * keep


@breaks("cut")
class ChunkMean(Component):
    """A penalty that is shared by the tokens of a chunk."""

    @hookimpl
    def regularize_vocab(self, logits: Tensor, ref_logits: Tensor) -> Tensor:
        return (logits - ref_logits).square().mean().expand(len(logits))


@breaks("gradient")
class DetachedLoss(Component):
    """A loss that teaches nothing."""

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        return -tokens.advantages * tokens.logprobs.detach()


@breaks("gradient")
class DetachedPenalty(Component):
    """A penalty that is only logged."""

    uses: ClassVar[frozenset[str]] = frozenset({"ref_logprobs"})
    per_token: ClassVar[bool] = True

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        return 0.1 * (tokens.logprobs - tokens.ref_logprobs).detach().square()


@breaks("gradient")
class InfiniteSlope(Component):
    """The square root's slope at 0 is infinite, behind a `where` that hides it."""

    per_token: ClassVar[bool] = True

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        moved = (tokens.logprobs - tokens.old_logprobs).abs()
        return torch.where(moved > 0, moved.sqrt(), 0 * moved)


@breaks("uses")
class Undeclared(Component):
    """Reads what it has not asked for."""

    per_token: ClassVar[bool] = True

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        return -0.01 * tokens.entropy


@breaks("uses")
class UnknownPart(Component):
    """Asks for what there is not."""

    per_token: ClassVar[bool] = True
    uses: ClassVar[frozenset[str]] = frozenset({"reference"})

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        return 0.01 * tokens.logprobs


@breaks("per_token")
class NotPerToken(Component):
    """Says that it looks at tokens alone and takes means over sequences."""

    per_token: ClassVar[bool] = True

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        ratio = tokens.sequence_mean(tokens.logprobs - tokens.old_logprobs).clamp(-20, 20).exp()
        return -tokens.advantages * ratio


@breaks("per_token")
class HiddenMean(Component):
    """As above, with a mean of its own."""

    per_token: ClassVar[bool] = True

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        total = tokens.logprobs.new_zeros(tokens.sequences).index_add(0, tokens.sequence, tokens.logprobs)
        return total[tokens.sequence]


@breaks("step")
class CentresLargeParts(Component):
    """Centres the log-probabilities of large micro-batches: no small case shows it."""

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        large = len(tokens.logprobs) > 28
        return -tokens.advantages * (tokens.logprobs - tokens.logprobs.mean() * large)
