"""The estimate of memory against the peak of real updates and rollouts, each in a process of its own.

The C library is told to give blocks back as they are freed: what is estimated is memory in use, not what an allocator
keeps for later.

Slow: a peak is that of a whole process, so each case is one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from dapoctl.components.resolver import build, choose
from dapoctl.config import RunConfig
from dapoctl.doctor.memory import estimate
from dapoctl.doctor.source import find_model
from dapoctl.doctor.workload import Workload
from dapoctl.models import locate
from tests.support.places import MODELS, ROOT

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc"),
]

SHAPES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(
        num_hidden_layers=6, hidden_size=256, intermediate_size=768, num_attention_heads=8, num_key_value_heads=4,
        head_dim=32, vocab_size=8000,
    ),
    "deep": LlamaConfig(
        num_hidden_layers=16, hidden_size=256, intermediate_size=768, num_attention_heads=8, num_key_value_heads=4,
        head_dim=32, vocab_size=2000,
    ),
    "qwen2": Qwen2Config(
        num_hidden_layers=8, hidden_size=320, intermediate_size=1280, num_attention_heads=10, num_key_value_heads=2,
        vocab_size=20_000,
    ),
    "gemma3": Gemma3TextConfig(
        num_hidden_layers=6, hidden_size=256, intermediate_size=1024, num_attention_heads=4, num_key_value_heads=1,
        head_dim=64, vocab_size=60_000, sliding_window=64,
    ),
}  # fmt: skip
CASES: dict[str, tuple[str, list[str], dict[str, dict[str, Any]], tuple[int, int, int, int]]] = {
    "a Llama": ("llama", [], {}, (4, 8, 128, 256)),
    "padded": ("llama", [], {"train": {"packing": False}}, (4, 8, 128, 256)),
    "in bfloat16": ("llama", [], {"model": {"dtype": "bfloat16"}}, (2, 8, 128, 256)),
    "with master weights": (
        "llama",
        [],
        {"model": {"dtype": "bfloat16"}, "optim": {"master_weights": True}},
        (2, 8, 128, 256),
    ),
    "with checkpointing": ("deep", [], {"train": {"gradient_checkpointing": True}}, (4, 8, 128, 256)),
    "with a reference": ("qwen2", ["kl"], {"train": {"micro_batch_tokens": 2048}}, (2, 8, 64, 192)),
    "with adapters": ("qwen2", [], {"lora": {"rank": 16}, "train": {"micro_batch_tokens": 2048}}, (2, 8, 64, 192)),
    "a sliding window": ("gemma3", [], {"train": {"micro_batch_tokens": 2048}}, (2, 8, 64, 192)),
    "a penalty over the vocabulary": ("gemma3", ["gkl"], {"train": {"micro_batch_tokens": 512}}, (2, 4, 64, 128)),
    "SmolLM2 135M": ("smollm2-135m", [], {"train": {"micro_batch_tokens": 512}}, (2, 4, 64, 64)),
    "Gemma 3 270M": ("gemma3-270m", [], {"train": {"micro_batch_tokens": 256}}, (2, 2, 32, 48)),
}
"""(model, components, settings, (prompts, samples, prompt tokens, response tokens))"""


def folder(name: str, scratch: Path) -> Path:
    """A model of random weights, or a real one, or a skip that says which is missing."""
    if name not in SHAPES:
        if not (MODELS / name / "config.json").is_file():
            pytest.skip(f"no model {name} in {MODELS} (set DAPOCTL_TEST_MODELS)")
        return MODELS / name
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(SHAPES[name]).save_pretrained(scratch / name)
    AutoTokenizer.from_pretrained(locate("tiny")).save_pretrained(scratch / name)
    return scratch / name


def workload(config: RunConfig, plugins: list[str]) -> Workload:
    model = find_model(config.model.path)
    assert model.shape is not None
    assert model.parameters is not None
    assert model.decoder is not None
    pipeline = build(choose(config.recipe, plugins, [config.task, config.engine]), {})
    penalties = len(pipeline.providers("regularize_vocab"))
    compares = bool(penalties) or pipeline.uses("ref_logprobs")
    parts = model.shape, model.parameters, model.decoder, pipeline.components[config.engine]
    return Workload(config, *parts, "cpu", compares=compares, vocab_penalties=penalties)


@pytest.mark.parametrize("case", CASES)
def test_estimates_are_within_a_fifth_of_peaks(case: str, tmp_path: Path) -> None:
    name, plugins, settings, (prompts, samples, prompt, response) = CASES[case]
    rollout = {"prompts": prompts, "samples": samples, "max_prompt_tokens": prompt, "max_response_tokens": response}
    model = {"path": str(folder(name, tmp_path))} | settings.get("model", {})
    values = settings | {"model": model, "rollout": rollout, "eval": {"every": 0}}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.peaks", json.dumps({"plugins": plugins, "config": values})],
        cwd=ROOT,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    found = estimate(workload(RunConfig(**values), plugins))
    updating, generating = dict(found.updating), dict(found.generating)
    del updating["process"], generating["process"]
    lasting = sum(
        generating.get(part, 0) for part in ("weights", "master weights", "gradients", "optimizer", "reference")
    )
    # Kernels in bfloat16 keep some 40 MiB to themselves.
    assert lasting == pytest.approx(measured["held"], rel=0.1, abs=60e6)
    assert sum(updating.values()) == pytest.approx(measured["updating"], rel=0.2)
    assert sum(generating.values()) == pytest.approx(measured["generating"], rel=0.2)
