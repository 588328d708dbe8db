"""The comparison with TRL: its arithmetic, its files, and one run of it on `tiny`.

Slow: TRL trains beside dapoctl, in processes of their own.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from experiments.bench.child import BenchError
from experiments.bench.compare import relative_difference
from experiments.bench.measuring import MIB, PeakMemory, matmul_parameters, update_flops
from experiments.bench.recorded import Group, Recording, Response, describe, mismatch, settle_rewards, summary
from experiments.bench.report import Spread, efficiency, figures, line_fit, rate, table
from experiments.bench.settings import Settings, resolve
from experiments.bench.versus_trl import from_options, parse
from tests.support.places import ROOT


def a_recording(settings: Settings) -> Recording:
    responses = [Response([5, 6], [-0.5, -1.0], "stop", 1.0), Response([5, 6, 7], [-0.5, -1.0, -2.0], "length", -1.0)]
    group = Group("1+2", "1+2=", "3", [2, 9], "assigned", responses)
    return Recording(describe(settings), [1], [group])


def test_flops_are_those_of_the_matrix_products() -> None:
    """Counted by torch on a real model, forward and backward; attention is its own operation and not counted."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    from dapoctl.models import locate

    model = AutoModelForCausalLM.from_pretrained(locate("tiny"), dtype=torch.float32, attn_implementation="sdpa")
    ids = torch.randint(5, 50, (3, 17))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    products = sum(
        count for name, count in counter.get_flop_counts()["Global"].items() if str(name) in {"aten.mm", "aten.addmm"}
    )
    assert update_flops(matmul_parameters(model), ids.numel()) == products


def test_ratios_and_medians() -> None:
    def measured(tokens: list[int], seconds: list[float], peak: int) -> dict[str, Any]:
        return {"tokens": tokens, "seconds": seconds, "peak_bytes": peak * MIB, "parameters": 10}

    rounds = [
        {"dapoctl": measured([100, 300], [1.0, 3.0], 30), "trl": measured([100], [2.0], 60)},
        {"dapoctl": measured([400], [2.0], 50), "trl": measured([100], [4.0], 100)},
        {"dapoctl": measured([300], [1.0], 40), "trl": measured([100], [1.0], 80)},
    ]
    assert rate(rounds[0]["dapoctl"]) == 100.0
    assert efficiency(rounds[0]["trl"], 30_000.0) == pytest.approx(6 * 10 * 50 / 30_000)
    found = figures(rounds, 30_000.0)
    assert found["ratios"] == [2.0, 8.0, 3.0]
    assert found["memory_ratio"] == 0.5
    assert Spread.of(found["ratios"]) == Spread(3.0, 2.0, 8.0)
    text = table(found)
    assert "ratio 3.00 (2.00 to 8.00)" in text
    assert "dapoctl / trl = 0.50" in text
    assert "dapoctl 200.0, trl 50.0" in text


def test_a_straight_line_is_found() -> None:
    slope, fixed, fit = line_fit([500, 1000, 4000], [1.5, 2.0, 5.0])
    assert (slope, fixed, fit) == pytest.approx((1.0, 1.0, 1.0))


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    settings = Settings("tiny", str(tmp_path / "deep" / "r.json"), prompts=1, samples=2)
    recording = a_recording(settings)
    recording.write(Path(settings.record))
    again = Recording.read(Path(settings.record))
    assert again == recording
    assert mismatch(again, settings) == ""
    assert mismatch(again, dataclasses.replace(settings, tokens=7)) == "tokens is 96, not 7"
    assert summary(again).startswith("2 responses, 5 tokens: 2 to 3 tokens, median 2")
    same = dataclasses.replace(
        again, groups=[dataclasses.replace(again.groups[0], responses=[Response([5], [], "stop", 1)])]
    )
    assert "all of 1 tokens" in summary(same)


def test_every_group_has_a_gradient() -> None:
    assert settle_rewards([1.0, -1.0, -1.0]) == ([1.0, -1.0, -1.0], "verifier")
    assert settle_rewards([-1.0, -1.0, -1.0]) == ([1.0, -1.0, 1.0], "assigned")


def test_settings_survive_the_way_to_a_process(tmp_path: Path) -> None:
    settings = Settings("tiny", "r.json", overrides=("train.micro_batch_tokens=64",), plugins=("token_mean", "kl"))
    settings.write(tmp_path / "s.json")
    assert Settings.read(tmp_path / "s.json") == settings


def test_settings_make_trls_loss() -> None:
    """GRPOConfig's `loss_type="dapo"`, `epsilon=0.2`, advantages over (std + 1e-4), Adam's betas of GRPOConfig."""
    config = resolve(Settings("tiny", "r.json", overrides=("train.micro_batch_tokens=64",))).config
    assert {"clip", "token_mean", "grpo"} <= config.components.keys()
    assert config.components["clip"]["eps"] == 0.2
    assert config.components["grpo"] == {"scale": "group", "eps": 1e-4}
    assert (config.optim.beta1, config.optim.beta2, config.optim.warmup_steps, config.optim.updates) == (
        0.9,
        0.999,
        0,
        1,
    )
    assert config.train.micro_batch_tokens == 64


def test_gradients_are_compared_over_all_tensors(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([0.3])}, tmp_path / "x")
    save_file({"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0])}, tmp_path / "y")
    save_file({"a": torch.tensor([3.0, 0.0])}, tmp_path / "z")
    assert relative_difference(tmp_path / "x", tmp_path / "y") == pytest.approx(3.7 / 5)
    with pytest.raises(BenchError, match="'b'"):
        relative_difference(tmp_path / "x", tmp_path / "z")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_is_what_was_allocated_and_gradients_are_not() -> None:
    weight = torch.nn.Parameter(torch.zeros(8 * MIB))
    memory = PeakMemory([weight], torch.device("cpu"))
    torch.ones(32 * MIB)
    assert memory.above() == pytest.approx((128 - 32) * MIB, rel=0.1)


def test_the_command_line_names_a_recording() -> None:
    settings = from_options(parse(["update", "--model", "tiny", "--tokens", "64"]))
    assert settings.record == str(Path.cwd() / "runs" / "bench" / "tiny-arithmetic-4x8x64.json")
    assert (settings.responses, settings.tokens) == (32, 64)


@pytest.mark.process
@pytest.mark.slow
def test_an_update_on_tiny_is_compared(tmp_path: Path) -> None:
    if importlib.util.find_spec("trl") is None:
        pytest.skip("trl is not installed (pip install 'dapoctl[bench]')")
    command = (
        "-m experiments.bench.versus_trl update --model tiny --rounds 1 --updates 1 --trl-batch 16 --prompts 2"
        f" --threads 1 --record {tmp_path / 'r.json'} --json {tmp_path / 'found.json'}"
    )
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["same"]["gradient_difference"] < 1e-4
    lengths = Recording.read(tmp_path / "r.json").lengths
    assert len(lengths) == 16
    for side in ("dapoctl", "trl"):
        measured = found["rounds"][0][side]
        assert measured["tokens"] == [sum(lengths)]
        assert measured["peak_bytes"] > 0
        assert found["sides"][side]["tokens_per_s"] == [pytest.approx(sum(lengths) / measured["seconds"][0])]
    assert math.isfinite(found["memory_ratio"])
    assert "ratio" in done.stdout
