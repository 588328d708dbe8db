"""Real pretrained models, real vLLM, real problems: short versions of the experiments.

Slow: real updates of real models; the embedded one is trained to its end for three seeds. All keep to one thread, as other
tests do: two workers with two threads each on two cores take twice as long.
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from dapoctl.runs.store import find_run
from dapoctl.runs.summary import metric_rows
from tests.support.places import DATA, MODELS, ROOT

RUN = (sys.executable, "-m", "dapoctl", "run")

pytestmark = [pytest.mark.process, pytest.mark.slow]


def need(model: str, engine: str) -> Path:
    """The model's folder, or a skip that says what is missing."""
    if engine == "vllm" and importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (make vllm)")
    if not (MODELS / model / "config.json").is_file():
        pytest.skip(f"no model {model} in {MODELS} (set DAPOCTL_TEST_MODELS)")
    if not (DATA / "asdiv-train.jsonl").is_file():
        pytest.skip(f"no asdiv-train.jsonl in {DATA}")
    return MODELS / model


def dapoctl_run(root: Path, *arguments: str) -> str:
    """What `dapoctl run` prints; it must succeed."""
    done = subprocess.run(
        [*RUN, *arguments, "--runs-dir", str(root)],
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(root: Path, experiment: str, model: Path, *settings: str) -> list[dict[str, float]]:
    """Metrics of each step of a short run of `experiment`."""
    fixed = (f"model={model}", f"math.data={DATA / 'asdiv-train.jsonl'}")
    options = [part for setting in (*fixed, *settings) for part in ("--set", setting)]
    dapoctl_run(root, "-c", str(ROOT / "experiments" / experiment), *options)
    return [row["metrics"] for row in metric_rows(find_run(root, "last"))]


@pytest.mark.xdist_group("vllm")
def test_smollm2_learns_word_problems_with_dapo_and_vllm(tmp_path: Path) -> None:
    model = need("smollm2-135m", "vllm")
    steps = train(tmp_path, "smollm2-asdiv.toml", model, "steps=3", "eval.limit=8", "dynamic_sampling.max_rounds=2")
    assert "eval/math/avg@1" in steps[0]
    # One group in five has a right and a wrong response; 24 groups without one are less likely than 1 in 200.
    trained = [step for step in steps[1:] if step["groups/kept"] > 0]
    assert trained
    for step in trained:
        assert 0 < step["groups/kept_fraction"] <= 1
        assert 0 < step["policy/grad_norm"] < 100
        # The same weights in both engines: what sync is for.
        assert step["rollout/logprob_mismatch_max"] < 1e-2
        assert step["rollout/logprob_mismatch_mean"] < 1e-4


@pytest.mark.xdist_group("vllm")
def test_gemma3_270m_trains_with_gkl_over_262144_entries(tmp_path: Path) -> None:
    model = need("gemma3-270m", "vllm")
    steps = train(tmp_path, "gemma3-270m-gkl.toml", model, "steps=2", "eval.every=0", "rollout.prompts=2")
    assert steps[0]["policy/gkl"] == pytest.approx(0, abs=1e-6)
    assert all(math.isfinite(step["policy/gkl"]) and step["policy/gkl"] > -1e-6 for step in steps)
    assert steps[-1]["rollout/logprob_mismatch_mean"] < 1e-4


def test_memory_of_an_update_follows_the_chunk_not_the_vocabulary(tmp_path: Path) -> None:
    model, figures = need("gemma3-270m", "hf"), tmp_path / "figures.json"
    options = [
        "--model",
        str(model),
        "--sizes",
        "1024,4096",
        "--updates",
        "1",
        "--threads",
        "1",
        "--json",
        str(figures),
    ]
    subprocess.run(
        [sys.executable, "-m", "experiments.bench.versus_trl", "scaling", *options],
        cwd=ROOT,
        timeout=850,
        check=True,
    )
    small, large = json.loads(figures.read_text())["rows"]
    logits_grown = large["logits_mib"] - small["logits_mib"]
    assert logits_grown == pytest.approx(3072)
    assert large["peak_mib"] - small["peak_mib"] < 0.1 * logits_grown


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_embedded_model_learns_to_add_carefully(tmp_path: Path, seed: int) -> None:
    options = ("--plugins", "clip_higher,gkl", "--seed", str(seed), "--json")
    result = json.loads(dapoctl_run(tmp_path, *options))
    assert result["before"]["eval/arithmetic/avg@1"] <= 0.60
    assert result["after"]["eval/arithmetic/avg@1"] >= 0.90
