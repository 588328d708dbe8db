"""What the settings that save a GPU's memory save by the estimate: exactly what they keep elsewhere, or smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from transformers import Gemma3Config

from dapoctl.components.pipeline import Pipeline
from dapoctl.config import RunConfig
from dapoctl.doctor.memory import Estimate, estimate
from dapoctl.doctor.plan import check_plan, plan_of
from dapoctl.doctor.shape import empty_model, measure
from dapoctl.doctor.workload import Workload
from dapoctl.engines.vllm import Vllm
from dapoctl.engines.vllm.needs import cache_room

GPU = 48 * 1024**3
TEXT = {
    "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 32_000, "sliding_window": 512,
}  # fmt: skip
VISION = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
          "image_size": 56, "patch_size": 14}  # fmt: skip
PARTS = measure(empty_model(Gemma3Config(text_config=TEXT, vision_config=VISION, mm_tokens_per_image=4)))
ROLLOUT = {"prompts": 4, "samples": 8, "max_prompt_tokens": 512, "max_response_tokens": 4096}


def workload(device: Any = "cuda", vllm: Mapping[str, Any] | None = None, **settings: Any) -> Workload:
    config = RunConfig(engine="vllm", **({"rollout": ROLLOUT} | settings))
    return Workload(config, *PARTS, Vllm(**vllm or {}), device, gpu_memory=GPU, compares=True)


def saved(by: Mapping[str, Any], **common: Any) -> tuple[Estimate, Estimate]:
    merged = {key: {**common.get(key, {}), **values} for key, values in by.items()}
    return estimate(workload(**common)), estimate(workload(**(common | merged)))


def test_the_tower_for_images_is_not_on_the_gpu() -> None:
    work = workload()
    assert work.parameters.frozen > 1e6
    there = estimate(work).updating["weights"]
    assert there == 4 * work.parameters.language
    assert estimate(replace(work, device="cpu")).updating["weights"] == 4 * work.parameters.total


def test_weights_that_are_away_while_sampling() -> None:
    before, after = saved({"train": {"offload_weights": True}})
    gone = before.generating["weights"] + before.generating["reference"]
    assert sum(before.generating.values()) - sum(after.generating.values()) == gone > 0
    assert after.updating == before.updating


def test_inputs_of_layers_in_the_host_s_memory() -> None:
    before, after = saved(
        {"train": {"offload_activations": True}}, train={"gradient_checkpointing": True, "micro_batch_tokens": 4096}
    )
    tokens = 512 + 4095
    gone = 7 * tokens * TEXT["hidden_size"] * 4
    assert before.updating["activations"] - after.updating["activations"] == gone
    assert after.generating == before.generating


def test_master_weights_save_where_they_are_on_the_host() -> None:
    before, after = saved({"optim": {"master_weights": True}}, optim={"states": "offload"})
    matrices = workload().matrices
    assert before.updating["weights"] - after.updating["weights"] == 2 * matrices > 0
    assert "master weights" not in after.updating
    # Autocast's copies are no more needed.
    assert before.updating["activations"] - after.updating["activations"] == 2 * matrices
    on_device = estimate(workload(optim={"master_weights": True}))
    assert on_device.updating["master weights"] == 4 * matrices


def test_a_cache_in_8_bits_holds_twice_as_much() -> None:
    (room, whole), (same, half) = (cache_room(Vllm(kv_cache_dtype=dtype), workload()) for dtype in ("auto", "fp8"))
    assert room == same
    assert whole == 2 * half


@pytest.mark.parametrize(
    ("settings", "device", "said"),
    [
        ({"lora": {"rank": 8}}, "cuda", "--set optim.lr=2e-05"),
        ({"optim": {"master_weights": True}}, "cpu", "--set model.dtype=bfloat16, or leave it out"),
        ({"train": {"offload_weights": True}}, "cpu", "leave it out"),
    ],
)
def test_what_would_do_nothing_is_found(settings: dict[str, Any], device: str, said: str) -> None:
    def fixes(work: Workload) -> list[str]:
        return [check.fix for check in check_plan(work.config, plan_of(work.config, Pipeline([]), work.device), work)]

    assert said in fixes(workload(device, **settings))
    assert said not in fixes(workload(device))
    assert "--set optim.lr=2e-05" not in fixes(workload("cuda", lora={"rank": 8}, optim={"lr": 1e-4}))
