"""Packed sequences: the tokens of several groups as one row, each group's prompt once, nothing padded.

Every layer but attention looks at each token alone, so packing does not change it. Attention is computed over rows of
prompt and response, made by copying, for each response, its keys, values and queries and those of its prompt next to each
other. So a prompt that G responses share goes through the linear layers once instead of G times.

Shapes: N packed tokens, M places in the rows (padding and copies included), H heads, d head size.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dapoctl.models import varlen

IMPLEMENTATION = "dapoctl_packed"
"""The attention implementation's name in transformers' registry"""
SIMILAR = 0.75
"""Rows share a block when the shorter is at least this fraction of the longest"""
ALONE = 2.0
"""The same, so that none does, and none is padded: for a kernel that takes rows of any length"""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each packed token stands in the rows over which attention is computed."""

    tokens: Tensor
    """[M] the packed token at each place; where a row is padded, its last token again"""
    home: Tensor
    """[N] the place from which each token's output is taken"""
    copies: Tensor
    """[C] the other places of prompt tokens, whose gradients are added"""
    originals: Tensor
    """[C] the packed token at each of these"""
    blocks: list[tuple[int, int]]
    """(rows, row length): rows of similar length that are computed together, one block after the other"""
    ends: Tensor | None = None
    """[R + 1] int32: where each row begins, and M; None where rows are padded"""
    masks: dict[tuple[int, int, torch.dtype], Tensor] = field(default_factory=dict)
    """Of sliding windows, by row length and window: all layers share them"""

    def window(self, length: int, size: int, like: Tensor) -> Tensor:
        """[length, length], to be added to attention scores: each token sees itself and the `size` - 1 before it."""
        key = (length, size, like.dtype)
        if key not in self.masks:
            ones = torch.ones(length, length, dtype=torch.bool, device=like.device)
            seen = ones.tril() & ones.triu(1 - size)
            self.masks[key] = like.new_zeros(length, length).masked_fill_(~seen, float("-inf"))
        return self.masks[key]

    def to(self, device: torch.device) -> Layout:
        """The same on another device."""
        tokens, home, copies, originals = (x.to(device) for x in (self.tokens, self.home, self.copies, self.originals))
        return Layout(tokens, home, copies, originals, self.blocks, None if self.ends is None else self.ends.to(device))


def pack(groups: Sequence[tuple[int, Sequence[int]]], similar: float = SIMILAR) -> Layout:
    """The layout of groups that are packed one after the other, a prompt and then its responses.

    Args:
        groups: (tokens of the prompt, tokens of each of its responses), responses longest first
        similar: `SIMILAR`, or `ALONE`
    """
    tokens: list[Tensor] = []
    home: list[Tensor] = []
    copies: list[Tensor] = []
    originals: list[Tensor] = []
    blocks: list[tuple[int, int]] = []
    first, place = 0, 0
    for prompt, responses in groups:
        shared, start = torch.arange(first, first + prompt), first + prompt
        for row, length in enumerate(responses):
            rows, width = blocks[-1] if row else (0, 0)
            if prompt + length < similar * width or not row:
                rows, width = 0, prompt + length
                blocks.append((0, 0))
            blocks[-1] = (rows + 1, width)
            own = torch.arange(start, start + length)
            last = own[-1:] if length else shared[-1:]
            tokens += [shared, own, last.expand(width - prompt - length)]
            if row:
                copies.append(torch.arange(place, place + prompt))
                originals.append(shared)
                home.append(torch.arange(place + prompt, place + prompt + length))
            else:
                home.append(torch.arange(place, place + prompt + length))
            start, place = start + length, place + width
        first = start
    none = torch.empty(0, dtype=torch.long)
    ends = None
    if similar >= ALONE:
        ends = torch.tensor([0, *itertools.accumulate(width for _, width in blocks)], dtype=torch.int32)
    return Layout(
        torch.cat(tokens), torch.cat(home), torch.cat([*copies, none]), torch.cat([*originals, none]), blocks, ends
    )


class _ToRows(torch.autograd.Function):
    """[N, F] -> [M, F]. Padding gets no gradient: nothing that is kept depends on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return values.index_select(0, layout.tokens)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        layout: Layout = ctx.layout
        total = grad.index_select(0, layout.home)
        return total.index_add_(0, layout.originals, grad.index_select(0, layout.copies)), None


class _FromRows(torch.autograd.Function):
    """[M, F] -> [N, F]"""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return rows.index_select(0, layout.home)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        layout: Layout = ctx.layout
        return grad.new_zeros(len(layout.tokens), grad.shape[1]).index_copy_(0, layout.home, grad), None


def attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface: [1, H, N, d] in, [1, N, H, d] out; without `packing`, its own `sdpa`."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    layout: Layout | None = options.pop("packing", None)
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    gathered = [(_to_rows(x, layout), x.shape[1]) for x in (query, key, value)]
    window, scale = options.get("sliding_window"), options.get("scaling")
    if layout.ends is not None and value.dtype in varlen.TYPES:
        longest = max(length for _, length in layout.blocks)
        q, k, v = (x.view(len(x), heads, -1) for x, heads in gathered)
        rows = varlen.attend(q, k, v, layout.ends, longest, window, scale).flatten(1)
    else:
        rows = _in_blocks(gathered, layout, window, scale)
    packed: Tensor = _FromRows.apply(rows, layout)  # type: ignore[no-untyped-call]
    return packed.view(1, query.shape[2], query.shape[1], -1), None


def _in_blocks(
    gathered: Sequence[tuple[Tensor, int]], layout: Layout, window: int | None, scale: float | None
) -> Tensor:
    """[M, H * d] from (queries, keys and values [M, heads * d], heads of each)."""
    outputs, start = [], 0
    for rows, length in layout.blocks:
        part = slice(start, start + rows * length)
        q, k, v = (x[part].view(rows, length, heads, -1).transpose(1, 2) for x, heads in gathered)
        mask = layout.window(length, window, q) if window is not None and window < length else None
        output = _causal(q, k, v, scale, mask)
        outputs.append(output.transpose(1, 2).reshape(rows * length, -1))
        start = part.stop
    return torch.cat(outputs)


def _to_rows(states: Tensor, layout: Layout) -> Tensor:
    """[1, H, N, d] -> [M, H * d]"""
    rows: Tensor = _ToRows.apply(states[0].transpose(0, 1).flatten(1), layout)  # type: ignore[no-untyped-call]
    return rows


def _causal(query: Tensor, key: Tensor, value: Tensor, scale: float | None, mask: Tensor | None) -> Tensor:
    """[b, H, L, d]; `mask` [L, L] in place of the causal one."""
    attend = torch.nn.functional.scaled_dot_product_attention
    if mask is None:
        return attend(query, key, value, is_causal=True, scale=scale, enable_gqa=True)
    # With a mask, CUDA's fast kernels want as many key heads as query heads.
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    return attend(query, key, value, attn_mask=mask, scale=scale)


def register(model: Any) -> bool:
    """Let `model` use `attention`; false if its layers do not use transformers' attention registry."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config.get_text_config()._attn_implementation != "sdpa":
        return False
    AttentionInterface.register(IMPLEMENTATION, attention)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
    model.set_attn_implementation(IMPLEMENTATION)
    return bool(model.config.get_text_config()._attn_implementation == IMPLEMENTATION)
