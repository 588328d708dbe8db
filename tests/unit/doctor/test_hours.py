"""Hours by arithmetic: against the same worked out by hand for a small shape, and what moves them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from transformers import LlamaConfig

from dapoctl.config.resolve import Resolved, load
from dapoctl.doctor.gpus import KNOWN, KnownGpu, find_gpu
from dapoctl.doctor.hours import Assumptions, Hours
from dapoctl.doctor.report import examine
from dapoctl.errors import UserError

GPU = KnownGpu("a made-up one", 24, 1e14, 1e12)
SETTINGS = (
    "steps=10", "rollout.prompts=4", "rollout.samples=8", "rollout.max_prompt_tokens=100", "rollout.max_response_tokens=400",
    "optim.updates=1", "eval.every=0", "train.gradient_checkpointing=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    LlamaConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4,
        vocab_size=32000, tie_word_embeddings=True, max_position_embeddings=4096, architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)  # fmt: skip
    return folder


def hours_of(model: Path, *changes: str, plugins: str = "", gpu: KnownGpu = GPU) -> Hours:
    resolved: Resolved = load([], [*SETTINGS, *changes], {"model": str(model), "plugins": plugins.split() or None})
    found = examine(resolved.config, resolved.pipeline, model, gpu_known=gpu).hours
    assert found is not None
    return found


def parameters() -> int:
    layer = 1024 * 1024 * 2 + 1024 * 512 * 2 + 3 * 1024 * 4096 + 2 * 1024
    return 8 * layer + 32000 * 1024 + 1024


def test_updates_are_three_passes_over_every_token(model: Path) -> None:
    # Of 4 groups: 50 prompt tokens once, 8 responses of 200. Attention: scores and sums over 150 tokens on average.
    tokens = 4 * (50 + 8 * 200)
    operations = 6 * tokens * (parameters() + 8 * 2 * 8 * 128 * (50 + 100))
    assert hours_of(model).updating == pytest.approx(10 * operations / (0.35 * 1e14) / 3600, rel=0.01)


def test_sampling_reads_weights_and_caches_for_each_token(model: Path) -> None:
    # All 32 at once: 200 steps that read the weights in bfloat16 and 32 caches of 150 tokens, then 200 for the last one.
    cache = 150 * 8 * 4 * 128 * (4 + 2)
    step = (2 * parameters() + 32 * cache) / (0.6 * 1e12)
    tail = (2 * parameters() + cache) / (0.6 * 1e12)
    assert hours_of(model).sampling == pytest.approx(10 * (200 * step + 200 * tail) / 3600, rel=0.01)


def test_what_moves_them(model: Path) -> None:
    usual = hours_of(model)
    assert hours_of(model, "optim.updates=2").updating == pytest.approx(usual.updating * 7 / 6)
    assert hours_of(model, "train.gradient_checkpointing=true").updating == pytest.approx(usual.updating * 8 / 6)
    assert hours_of(model, plugins="kl").updating == pytest.approx(usual.updating * 8 / 6)
    assert hours_of(model, "lora.rank=8").updating == pytest.approx(usual.updating * 4 / 6, rel=0.01)
    assert hours_of(model, plugins="dynamic_sampling").sampling == pytest.approx(2 * usual.sampling)
    assert hours_of(model, "steps=20").total == pytest.approx(2 * usual.total)
    assert usual.evaluating == 0
    assert hours_of(model, "eval.every=5").evaluating > 0
    faster = hours_of(model, gpu=dataclasses.replace(GPU, bandwidth=2e12))
    assert (faster.sampling, faster.updating) == (pytest.approx(usual.sampling / 2), usual.updating)
    assert hours_of(model, gpu=dataclasses.replace(GPU, flops=2e14)).updating == pytest.approx(usual.updating / 2)


def test_every_assumption_has_its_words() -> None:
    shown = " ".join(Assumptions().words())
    for value in dataclasses.astuple(Assumptions()):
        assert f"{value:.0%}" in shown or f"{value:g} rounds" in shown


def test_gpus_by_name() -> None:
    assert find_gpu("H100") is KNOWN["h100"]
    with pytest.raises(UserError, match=r"--gpu h1000: .*Did you mean `h100`"):
        find_gpu("h1000")
