"""Attention: that packed rows give what single sequences do, and what each kernel takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from dapoctl.models import varlen
from dapoctl.models.packing import ALONE, SIMILAR, pack, register
from experiments.bench.gpu_check.figures import Figures
from experiments.bench.gpu_check.subject import SMALL, Subject

LENGTHS = (2048, 5120, 8192, 16_384)
FLEX_UP_TO = 5120
"""It is compiled for each length"""


def exactness(figures: Figures, subject: Subject) -> None:
    """Packed against single sequences, with a window shorter than they are, for masks and for rows of any length."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    groups = [(11, [30, 29, 12, 3]), (20, [7, 1])]
    draw = torch.Generator().manual_seed(3)
    prompts = [torch.randint(0, 64, (length,), generator=draw) for length, _ in groups]
    responses = [[torch.randint(0, 64, (n,), generator=draw) for n in lengths] for _, lengths in groups]
    ids = torch.cat([torch.cat([prompt, *group]) for prompt, group in zip(prompts, responses, strict=True)])
    positions = torch.cat(
        [torch.cat([torch.arange(p), *(torch.arange(p, p + n) for n in lengths)]) for p, lengths in groups]
    )
    for dtype, most in ((torch.float32, 2e-4), (torch.bfloat16, 5e-2)):
        torch.manual_seed(3)
        model: Any = (
            Gemma3ForCausalLM(Gemma3TextConfig(**SMALL | {"sliding_window": 8})).to(subject.device, dtype).eval()
        )
        register(model)

        def states(ids: Tensor, model: Any = model, **more: Any) -> Tensor:
            with torch.no_grad():
                found: Tensor = model.model(
                    input_ids=ids.to(subject.device)[None], use_cache=False, **more
                ).last_hidden_state[0]
            return found.float()

        single = []
        for prompt, group in zip(prompts, responses, strict=True):
            each = [states(torch.cat([prompt, response])) for response in group]
            single += [each[0][: len(prompt)], *(one[len(prompt) :] for one in each)]
        expected = torch.cat(single)
        ways = {"masks": SIMILAR}
        if dtype in varlen.TYPES and not subject.dry:
            ways["rows of any length"] = ALONE
        for name, similar in ways.items():
            layout = pack(groups, similar).to(subject.device)
            mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=subject.device)
            found = states(ids, attention_mask=mask, position_ids=positions.to(subject.device)[None], packing=layout)
            off = float((found - expected).abs().max() / expected.abs().max())
            figures.add(f"{name}, {str(dtype).removeprefix('torch.')}: largest difference", off, high=most)
    if not subject.dry:
        for heads, keys, size in ((8, 4, 256), (4, 1, 256), (9, 3, 64), (16, 8, 128)):
            why = varlen.difference(subject.device, torch.bfloat16, heads, keys, size)
            figures.add(f"torch's kernel for rows of any length, {heads}/{keys} heads of {size}", not why)


def attention(figures: Figures, subject: Subject) -> None:
    """A sliding layer of Gemma 3, forward and backward: causal, by a dense mask, by a windowed kernel, by FlexAttention."""
    shape = subject.shape
    heads, keys, size, window = (
        shape[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim", "sliding_window")
    )
    for length in (256,) if subject.dry else LENGTHS:
        leaves = [
            torch.randn(1, count, length, size, device=subject.device, dtype=torch.bfloat16, requires_grad=True)
            for count in (heads, keys, keys)
        ]
        taken = {}
        for name, call in _ways(subject, leaves, length, window).items():
            try:
                taken[name] = 1e3 * subject.seconds(partial(_both, call, leaves))
            except Exception as error:  # noqa: BLE001 (the others are worth knowing)
                figures.add(f"{length} tokens, {name}", f"{type(error).__name__}: {str(error)[:120]}")
            else:
                figures.add(f"{length} tokens, {name}", taken[name], unit="ms")
        if {"dense mask", "causal"} <= taken.keys() and not subject.dry:
            figures.add(f"{length} tokens, dense mask / causal", taken["dense mask"] / taken["causal"], 3, 12)
        if "windowed" in taken:
            most = {2048: 1.1}.get(length, 0.6)
            figures.add(f"{length} tokens, windowed / causal", taken["windowed"] / taken["causal"], high=most)


def _both(call: Callable[[], Tensor], leaves: list[Tensor]) -> None:
    """Forward and backward."""
    torch.autograd.grad(call().sum(), leaves)


def _ways(subject: Subject, leaves: list[Tensor], length: int, window: int) -> dict[str, Callable[[], Tensor]]:
    query, key, value = leaves
    share = query.shape[1] // key.shape[1]
    ones = torch.ones(length, length, dtype=torch.bool, device=subject.device)
    mask = torch.zeros(length, length, device=subject.device, dtype=torch.bfloat16)
    mask.masked_fill_(~(ones.tril() & ones.triu(1 - window)), float("-inf"))
    ways: dict[str, Callable[[], Tensor]] = {
        "causal": lambda: scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True),
        "dense mask": lambda: scaled_dot_product_attention(
            query, *(x.repeat_interleave(share, 1) for x in (key, value)), attn_mask=mask
        ),
    }
    if subject.dry:
        return ways
    ends = torch.tensor([0, length], dtype=torch.int32, device=subject.device)
    ways["windowed"] = lambda: varlen.attend(
        *(x[0].transpose(0, 1) for x in (query, key, value)), ends, length, window, None
    )
    if length <= FLEX_UP_TO:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        compiled: Any = torch.compile(flex_attention, dynamic=False)
        blocks = create_block_mask(
            lambda _b, _h, i, j: (i >= j) & (i - j < window), None, None, length, length, device=str(subject.device)
        )
        ways["FlexAttention"] = lambda: compiled(query, key, value, block_mask=blocks, enable_gqa=True)
    return ways
