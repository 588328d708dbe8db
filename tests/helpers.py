"""Small batches and tokens for tests of components."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dapoctl import Batch, Component, Counts, Problem, Score, Tokens
from dapoctl.models import locate


def make_batch(
    rewards: Sequence[Sequence[float]],
    *,
    lengths: Sequence[int] | None = None,
    correct: Sequence[Sequence[bool]] | None = None,
    truncated: Collection[int] = (),
    dropped: Collection[int] = (),
    padding: int = 0,
    max_response_tokens: int = 16,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """A batch from each group's rewards.

    `truncated` and `dropped` (by `mask_responses`) are response indices, `padding` is the number of columns past the
    longest response.
    """
    flat = [reward for group in rewards for reward in group]
    size = len(flat)
    lengths = list(lengths) if lengths is not None else [3] * size
    right = [bool(c) for group in correct for c in group] if correct is not None else [reward > 0 for reward in flat]
    groups = [index for index, group in enumerate(rewards) for _ in group]
    width = max(lengths) + padding
    mask = torch.zeros(size, width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        mask[row, :length] = row not in dropped
    kept = [row for row in range(size) if row not in dropped]
    values = torch.tensor(flat, dtype=dtype)
    return Batch(
        problems=[Problem(str(index), f"{index}+{index}=", str(2 * index)) for index in range(len(rewards))],
        prompt_ids=[[1, 2] for _ in rewards],
        groups=torch.tensor(groups),
        texts=["" for _ in flat],
        response_ids=torch.zeros(size, width, dtype=torch.int64),
        mask=mask,
        rollout_logprobs=torch.zeros(size, width),
        scores=values.clone(),
        correct=torch.tensor(right),
        rewards=values,
        lengths=torch.tensor(lengths),
        truncated=torch.tensor([row in truncated for row in range(size)]),
        verdicts=[Score(value, is_right) for value, is_right in zip(flat, right, strict=True)],
        born=[1 for _ in rewards],
        max_response_tokens=max_response_tokens,
        step=1,
        counts=Counts(len(kept), sum(lengths[row] for row in kept), len({groups[row] for row in kept})),
    )


def make_tokens(
    logprobs: Tensor,
    old_logprobs: Tensor | None = None,
    advantages: Tensor | None = None,
    **optional: Tensor,
) -> Tokens:
    """Tokens of one sequence; without `old_logprobs` the policy has not moved."""
    old = logprobs.detach() if old_logprobs is None else old_logprobs
    return Tokens(
        logprobs=logprobs,
        old_logprobs=old,
        rollout_logprobs=old,
        advantages=torch.ones_like(old) if advantages is None else advantages,
        sequence=torch.zeros(len(logprobs), dtype=torch.int64),
        sequences=1,
        optional=optional,
    )


def plugin_file(folder: Path, source: str, name: str = "my_idea.py") -> Path:
    """A component's source, indented as a test has it, written to a file."""
    path = folder / name
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def record(component: Component, name: str) -> dict[str, list[Any]]:
    """Attach `component` under `name` and collect what it logs from now on: every logged value, flattened."""
    logged: dict[str, list[Any]] = {}

    def sink(metric: str, values: Tensor | float) -> None:
        logged.setdefault(metric, []).extend(torch.as_tensor(values).flatten().tolist())

    component.attach(name, sink)
    return logged


def numeric_gradient(function: Any, at: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a scalar `function` of a float64 tensor."""
    gradient = torch.zeros_like(at)
    for index in range(at.numel()):
        ends = []
        for sign in (1, -1):
            moved = at.detach().clone()
            moved.view(-1)[index] += sign * step
            ends.append(float(function(moved)))
        gradient.view(-1)[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def multimodal_gemma(folder: Path) -> None:
    """Write a small Gemma 3 with a vision tower and random weights, and the embedded model's tokenizer."""
    from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    config = Gemma3Config(
        text_config={
            "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 256,
            "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 14,
        },
        mm_tokens_per_image=4, image_token_index=63, boi_token_index=61, eoi_token_index=62,
    )  # fmt: skip
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(locate("tiny")).save_pretrained(folder)
