"""The inputs that hooks are tried on, small ones first, so that the first failure is the simplest.

Shapes: P groups, B responses, T tokens of the longest response and padding, N tokens of a micro-batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dapoctl.batch import Batch, Tokens
from dapoctl.testing.factories import make_batch, make_tokens
from dapoctl.testing.values import numbers

Arguments = dict[str, Any]
LIMIT = 8
"""Response tokens of the small batches"""


class Case(Protocol):
    """One input of a hook; its text describes it in concrete numbers."""

    def arguments(self, dtype: torch.dtype) -> Arguments:
        """The hook's arguments, new ones at each call; `dtype` is that of float tensors."""
        ...


@dataclass(frozen=True)
class BatchCase:
    """A batch, by its rewards and lengths."""

    rewards: tuple[tuple[float, ...], ...]
    lengths: tuple[int, ...]
    truncated: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    padding: int = 0
    estimated: bool = False
    """Whether the batch has advantages, as it does from `weigh_tokens` on"""

    def batch(self, dtype: torch.dtype) -> Batch:
        """The batch, with response ids, texts and log-probabilities that differ from response to response."""
        batch = make_batch(
            self.rewards, lengths=self.lengths, truncated=self.truncated, dropped=self.dropped, padding=self.padding,
            max_response_tokens=LIMIT, dtype=dtype,
        )  # fmt: skip
        size, width = batch.mask.shape
        indices = torch.arange(size * width).view(size, width)
        valid = torch.arange(width) < batch.lengths[:, None]
        batch.response_ids = (indices * 7 % 61 + 1) * valid
        batch.rollout_logprobs = -(indices * 5 % 11 + 1).to(dtype) / 8 * valid
        batch.texts = [f"response {row}" for row in range(size)]
        if self.estimated:
            batch.advantages = (batch.rewards + 0.25 * batch.groups)[:, None].expand(size, width).clone()
        return batch

    def arguments(self, dtype: torch.dtype) -> Arguments:
        return {"batch": self.batch(dtype)}

    def __str__(self) -> str:
        sizes = [len(group) for group in self.rewards]
        equal = len({*sizes}) == 1
        groups = f"{len(sizes)} group{'s' if len(sizes) > 1 else ''}"
        shape = (
            f"{groups} x {sizes[0]} response{'s' if sizes[0] > 1 else ''}"
            if equal
            else f"{groups} of {sizes} responses"
        )
        extra = [f"{name} {list(rows)}" for name in ("truncated", "dropped") if (rows := getattr(self, name))]
        padding = [f"{self.padding} columns of padding"] if self.padding else []
        return ", ".join(
            [shape, f"rewards {numbers(self.rewards)}", f"lengths {list(self.lengths)} of {LIMIT}", *extra, *padding]
        )


BATCHES = (
    BatchCase(((1.0,),), (1,)),
    BatchCase(((1.0, -1.0),), (1, 2)),
    BatchCase(((1.0, 1.0),), (2, 1)),
    BatchCase(((-1.0, -1.0),), (2, 2)),
    BatchCase(((0.1, 0.1, 0.1),), (1, 3, 2)),
    BatchCase(((1.0, -1.0),), (LIMIT, LIMIT - 1), truncated=(0,)),
    BatchCase(((-1.0, -1.0),), (LIMIT, LIMIT), truncated=(0, 1)),
    BatchCase(((1.0, -1.0), (-1.0, -1.0)), (1, 3, 4, 2)),
    BatchCase(((1.0, -1.0, 0.5), (-1.0,), (1.0, 1.0)), (2, 5, 3, 1, 2, 4), padding=2),
    BatchCase(
        ((0.5, -1.0, -1.0, 1.0), (1.0, 1.0, -1.0, 0.25), (-1.0, -1.0, -1.0, -1.0)),
        (5, 1, LIMIT, 3, 2, 2, 7, 4, 6, 1, 1, LIMIT),
        truncated=(2, 11),
    ),
)
MASKED_BATCHES = (
    BatchCase(((1.0,),), (1,), dropped=(0,)),
    BatchCase(((1.0, -1.0),), (2, 1), dropped=(1,)),
    BatchCase(((1.0, -1.0), (-1.0, 1.0)), (1, 3, 4, 2), dropped=(2, 3)),
)
"""Batches after `mask_responses`"""


@dataclass(frozen=True)
class TokenCase:
    """Tokens of a micro-batch, by the length and the advantage of each sequence."""

    lengths: tuple[int, ...]
    advantages: tuple[float, ...]
    extreme: float = 0.0
    """Every log-ratio, to the old policy and to the reference; if 0, they are small numbers of either sign"""
    moved: bool = True
    """Whether the policy differs from the old one"""

    def tokens(self, dtype: torch.dtype) -> Tokens:
        """The tokens, with both optional parts."""
        generator = torch.Generator().manual_seed(sum(self.lengths))

        def noise(scale: float) -> Tensor:
            return scale * (2 * torch.rand(sum(self.lengths), generator=generator, dtype=torch.float64) - 1)

        logprobs = noise(1.0) - 1.5
        old, reference = logprobs - noise(0.4) * self.moved, logprobs - noise(0.6)
        if self.extreme:
            high, low = torch.full_like(logprobs, -0.01), torch.full_like(logprobs, -0.01 - abs(self.extreme))
            logprobs = high if self.extreme > 0 else low
            old = reference = low if self.extreme > 0 else high
        counts = torch.tensor(self.lengths)
        advantages = torch.tensor(self.advantages, dtype=torch.float64).repeat_interleave(counts)
        parts = {
            "old_logprobs": old, "rollout_logprobs": old - noise(0.1), "advantages": advantages,
            "ref_logprobs": reference, "entropy": noise(0.5) + 1.0,
        }  # fmt: skip
        sequence = torch.arange(len(self.lengths)).repeat_interleave(counts)
        # Separate tensors: a component that writes into one must not change another.
        cast = {name: values.clone().to(dtype) for name, values in parts.items()}
        return make_tokens(logprobs.clone().to(dtype), sequence=sequence, **cast)

    def arguments(self, dtype: torch.dtype) -> Arguments:
        return {"tokens": self.tokens(dtype)}

    def __str__(self) -> str:
        sequences = f"{len(self.lengths)} sequence{'s' if len(self.lengths) > 1 else ''} of {list(self.lengths)} tokens"
        ratio = f"{self.extreme:+g}" if self.extreme else "of either sign" if self.moved else "0"
        return f"{sequences}, advantages {numbers(self.advantages)}, log-ratios {ratio}"


TOKENS = (
    TokenCase((1,), (1.0,), moved=False),
    TokenCase((1,), (0.0,)),
    TokenCase((2,), (1.0,)),
    TokenCase((2,), (-1.0,)),
    TokenCase((1, 2), (1.0, -1.0), moved=False),
    TokenCase((1, 2), (1.0, -1.0)),
    TokenCase((1, 1), (1.0, -1.0), extreme=100.0),
    TokenCase((1, 1), (1.0, -1.0), extreme=-100.0),
    TokenCase((3, 1, 2), (0.5, -1.5, 1.0)),
    TokenCase((12, 5, 9, 1), (1.0, -0.5, -1.0, 2.0)),
)


@dataclass(frozen=True)
class VocabCase:
    """Logits of a vocabulary chunk, of the policy and of the reference."""

    tokens: int
    scale: float = 1.0
    """Standard deviation of the logits"""
    equal: bool = False
    """Whether policy and reference agree"""

    def arguments(self, dtype: torch.dtype) -> Arguments:
        """Logits of the policy and of the reference, [n, V] each."""
        generator = torch.Generator().manual_seed(self.tokens)
        shape = (self.tokens, VOCABULARY)
        logits, other = (self.scale * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
        return {"logits": logits.to(dtype), "ref_logits": (logits.clone() if self.equal else other).to(dtype)}

    def __str__(self) -> str:
        tokens = f"{self.tokens} token{'s' if self.tokens > 1 else ''}"
        same = ", equal to the reference's" if self.equal else ""
        return f"{tokens}, {VOCABULARY} vocabulary entries, logits of scale {self.scale:g}{same}"


VOCABULARY = 6
"""Entries, the same in every case, as in a run"""
VOCABULARIES = (
    VocabCase(1),
    VocabCase(1, equal=True),
    VocabCase(2),
    VocabCase(2, scale=100.0),
    VocabCase(VOCABULARY, scale=5.0),
    VocabCase(11),
)


def batch_cases(hook: str) -> Sequence[BatchCase]:
    """Batches as `hook` sees them."""
    if hook != "weigh_tokens":
        return BATCHES
    cases = sorted([*BATCHES, *MASKED_BATCHES], key=lambda case: sum(case.lengths))
    return [dataclasses.replace(case, estimated=True) for case in cases]
