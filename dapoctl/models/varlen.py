"""Attention over rows of any length, one after the other: no padding, and no mask for a sliding window.

torch's kernel for it computes no more than the window, where a mask makes a GPU compute every pair of tokens: five to nine
times what the causal kernel takes at 2,048 to 8,192 tokens with Gemma's head size of 256 (forward and backward on a B200; torch
2.13, unsloth pull request 11102).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dapoctl.models.policy import Policy

TYPES = (torch.bfloat16, torch.float16)
"""What the kernel computes in"""
TOLERANCE = 0.03
"""Of the norm, between this kernel in bfloat16 and plain attention in float32: rounding alone makes about 0.004"""


def attend(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, window: int | None, scale: float | None
) -> Tensor:
    """[M, H, d]: each token attends to itself and those before it in its row, at most `window` of them.

    Args:
        query: [M, H, d]; of any type, computed in the values'
        key: [M, K, d], with H a multiple of K
        value: [M, K, d]
        ends: [R + 1] int32, where each of R rows begins, and M
        longest: of the rows, in tokens
        window: None for all tokens of the row
        scale: of the scores; None for 1 / sqrt(d)
    """
    from torch.nn.attention.varlen import varlen_attn

    query, key = query.to(value.dtype), key.to(value.dtype)
    left = -1 if window is None else window - 1
    output = varlen_attn(
        query, key, value, ends, ends, longest, longest,
        scale=scale, window_size=(left, 0), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    assert isinstance(output, Tensor), "no other output was asked for"
    return output


def obstacle(policy: Policy) -> str:
    """Why the policy cannot use the kernel; empty if it can, which is tried with its head sizes, forward and backward.

    Not every GPU and every release of torch has it, and one that is wrong would be noticed nowhere else.
    """
    if policy.device.type != "cuda":
        return "no GPU"
    if policy.compute_dtype not in TYPES:
        return f"it does not compute in {policy.compute_dtype}"
    config: Any = policy.model.config.get_text_config()
    heads = int(config.num_attention_heads)
    groups = int(getattr(config, "num_key_value_heads", None) or heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    try:
        return difference(policy.device, policy.compute_dtype, heads, groups, size)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, there is another way)
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def difference(device: torch.device, dtype: torch.dtype, heads: int, groups: int, size: int) -> str:
    """How the kernel's output or gradients differ from plain attention's, on small rows with and without a window; empty where
    they agree.
    """
    generator = torch.Generator().manual_seed(0)
    lengths, window = (5, 37, 12), 8
    ends = torch.tensor([0, 5, 42, 54], dtype=torch.int32, device=device)
    shapes = ((54, heads, size), (54, groups, size), (54, groups, size))
    exact = [torch.randn(shape, generator=generator).to(device, dtype).float() for shape in shapes]
    weight = torch.randn(shapes[0], generator=generator).to(device)
    for seen in (None, window):
        kernel = functools.partial(attend, ends=ends, longest=max(lengths), window=seen, scale=None)
        found = _with_gradients(kernel, exact, weight, dtype)
        expected = _with_gradients(functools.partial(plain, lengths=lengths, window=seen), exact, weight, torch.float32)
        for name, one, other in zip(("output", *["gradient"] * 3), found, expected, strict=True):
            apart = float((one - other).norm() / other.norm())
            if not apart < TOLERANCE:
                return f"its {name} is {apart:.1%} from that of plain attention, window {seen}"
    return ""


def _with_gradients(
    attention: Callable[[Tensor, Tensor, Tensor], Tensor], values: Sequence[Tensor], weight: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """The output for queries, keys and values in `dtype`, and the gradient of each where the output's is `weight`."""
    query, key, value = (x.detach().clone().requires_grad_() for x in values)
    output = attention(query.to(dtype), key.to(dtype), value.to(dtype)).float()
    return [output.detach(), *torch.autograd.grad(output, (query, key, value), weight)]


def plain(query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], window: int | None) -> Tensor:
    """`attend` row by row, by matrix products."""
    outputs = []
    share = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(share, 1) for x in (key, value))
    for q, k, v in zip(*(torch.split(x, list(lengths)) for x in (query, key, value)), strict=True):
        scores = q.transpose(0, 1) @ k.permute(1, 2, 0) / q.shape[-1] ** 0.5
        place = torch.arange(len(q), device=q.device)
        distance = place[:, None] - place
        hidden = (distance < 0) | (distance >= (window or len(q)))
        outputs.append((scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v.transpose(0, 1)).transpose(0, 1))
    return torch.cat(outputs)
