"""Small batches and tokens for tests of components."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dapoctl import Component
from dapoctl.models import locate
from dapoctl.testing import make_batch, make_tokens

__all__ = ["make_batch", "make_tokens", "multimodal_gemma", "numeric_gradient", "plugin_file", "record"]


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
