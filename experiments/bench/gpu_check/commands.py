"""The engine `hf`, and the commands themselves."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import torch

from dapoctl.engines import Sampling
from dapoctl.engines.hf import HfEngine
from experiments.bench.gpu_check.figures import Figures
from experiments.bench.gpu_check.subject import RANK, Subject

ROWS, PROMPT = 64, 100


def decoding(figures: Figures, subject: Subject) -> None:
    """Milliseconds a token of the engine `hf`, for 64 responses at once."""
    policy = subject.policy(RANK)
    engine = HfEngine(policy, ROWS)
    prompts = [[5 + place % 50 for place in range(PROMPT)]] * (ROWS // 16)
    length = 4 if subject.dry else 96
    for top_p in (1.0, 0.7):
        subject.forget_peak()
        begun = time.perf_counter()
        engine.generate(prompts, Sampling(length, top_p=top_p, seed=1), 16)
        subject.wait()
        taken = (time.perf_counter() - begun) / length * 1e3
        figures.add(f"top_p {top_p:g}", taken, high=None if subject.dry else 60, unit="ms a token")
        figures.add(f"top_p {top_p:g}: peak memory", subject.peak(), unit="GB")


def commands(figures: Figures, subject: Subject) -> None:
    """What the GPU is called, a run with a checkpoint and a profile, and one that learns."""
    device = "cpu" if subject.dry else "cuda"
    _run(figures, "gpus", ["gpus", "--json"])
    if not subject.dry:
        figures.add("gpus: bfloat16", torch.cuda.is_bf16_supported())
    with tempfile.TemporaryDirectory() as folder:
        run = [
            "run",
            "--plugins",
            "clip_higher,gkl",
            "--set",
            "optim.updates=2",
            "--set",
            f"train.device={device}",
            "--runs-dir",
            folder,
        ]
        _run(
            figures,
            "run of 4 steps",
            [*run, "--set", "steps=4", "--set", "eval.limit=16", "--set", "checkpoint.every=2"],
        )
        if not subject.dry:
            _run(figures, "run that learns", run)


def _run(figures: Figures, name: str, arguments: list[str]) -> None:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dapoctl", *arguments], capture_output=True, text=True, check=False, timeout=240
    )
    figures.add(f"{name}: exit code 0", done.returncode == 0)
    figures.add(f"{name}: seconds of the command", time.perf_counter() - begun, unit="s")
    figures.add(f"{name}: said", " ".join((done.stdout + done.stderr)[-300:].split()))
