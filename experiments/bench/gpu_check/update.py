"""An update of Gemma 3 4B's shape: tokens a second, share of the GPU's arithmetic, memory beside the doctor's estimate."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dapoctl.models.policy import Policy
from dapoctl.training.step import accumulate_gradient, apply_gradient, estimate, old_logprobs
from experiments.bench.gpu_check.figures import Figures
from experiments.bench.gpu_check.subject import RANK, Subject

CASES = ((128, 1920, 8), (1024, 4096, 4), (1024, 15_360, 2))
"""(tokens of a prompt, of a response, responses)"""
LEAST = {"adapters": {2048: 8000, 5120: 7000}, "every weight": {2048: 6000, 5120: 5500}}
"""Tokens a second on an H100 or H200, from first principles, with windowed attention"""
GROUPS = 2
LONG = 8192
"""Tokens of a sequence above which memory and time leave room for the essential figures alone"""


def update(figures: Figures, subject: Subject) -> None:
    """Adapters, then every weight; with windowed attention, and with masks beside it."""
    for rank, name in ((RANK, "adapters"), (0, "every weight")):
        policy = subject.policy(rank)
        figures.add(f"{name}: packs", policy.packs)
        if not subject.dry:
            figures.add(f"{name}: rows of any length", policy.varlen)
        for prompt, response, rows in ((16, 112, 4),) if subject.dry else CASES:
            if response > LONG and not rank:
                # Every weight and 16k tokens are more than 80 GB.
                continue
            _measure(figures, subject, policy, name, (prompt, response, rows))
        del policy
        subject.forget_peak()


def _measure(figures: Figures, subject: Subject, policy: Policy, name: str, case: tuple[int, int, int]) -> None:
    prompt, response, rows = case
    length, tokens = prompt + response, rows * response
    learner = subject.learner(policy)
    batch = estimate(learner, subject.batch(GROUPS, rows // GROUPS, prompt, response))

    def step() -> None:
        accumulate_gradient(learner, batch)
        apply_gradient(learner, 1)
        learner.optimizer.zero_grad(set_to_none=True)

    subject.forget_peak()
    taken, peak = subject.seconds(step, 2), subject.peak()
    weights = sum(parameter.numel() for parameter in policy.model.parameters())
    figures.add(f"{name}, {length}: trained tokens", tokens / taken, LEAST[name].get(length), unit="tokens/s")
    if subject.flops:
        # Weights that are frozen get no gradient of their own: two passes of three.
        passes = 4 if policy.adapters is not None else 6
        share = passes * weights * rows * length / taken / subject.flops
        figures.add(f"{name}, {length}: share of the GPU's arithmetic (MFU)", share, 0.15)
    figures.add(f"{name}, {length}: updates left out", learner.metrics.result()["policy/skipped_updates"], high=0)
    figures.add(f"{name}, {length}: peak memory", peak, unit="GB")
    if not subject.dry:
        expected = _doctors(policy, case)
        figures.add(f"{name}, {length}: peak memory / the doctor's estimate", peak / expected, 0.8, 1.2)
    if policy.varlen and length < LONG:
        # Beside it what it took before.
        policy.varlen = False
        masked = subject.seconds(step, 1)
        policy.varlen = True
        figures.add(f"{name}, {length}: gain over masks", masked / taken, 1.1)
    figures.add(
        f"{name}, {length}: old log-probabilities",
        tokens / subject.seconds(lambda: old_logprobs(learner, batch), 1),
        unit="tokens/s",
    )
    if length < LONG:
        figures.add(f"{name}, {length}: dearest", subject.kernels(step))


def _doctors(policy: Policy, case: tuple[int, int, int]) -> float:
    """GB that `dapoctl doctor` counts for the update, without Python and CUDA's own."""
    prompt, response, rows = case
    with tempfile.TemporaryDirectory() as folder:
        config = policy.model.config.to_dict() | {"architectures": ["Gemma3ForCausalLM"]}
        Path(folder, "config.json").write_text(json.dumps(config, default=str))
        settings = {
            "model": folder, "recipe": "dapo", "rollout.prompts": GROUPS, "rollout.samples": rows // GROUPS,
            "rollout.max_prompt_tokens": prompt, "rollout.max_response_tokens": response, "train.micro_batch_tokens": 8192,
            "train.gradient_checkpointing": "true", "train.device": "cuda", "lora.rank": RANK if policy.adapters else 0,
        }  # fmt: skip
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        asked = [sys.executable, "-m", "dapoctl", "doctor", "--json", "--gpu-memory", "141", *options]
        found = json.loads(subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120).stdout)
    parts = found["memory"]["updating"]
    return float(sum(size for part, size in parts.items() if part != "process") / 1e9)


def states(figures: Figures, subject: Subject) -> None:
    """Every weight with each form of the optimizer's states: memory between updates, and seconds of one."""
    policy = subject.policy(0)
    batch = None
    # On a CPU there is nowhere to move them to.
    for form in ("float32", "bfloat16", "8bit", *([] if subject.dry else ["offload"])):
        learner = subject.learner(policy, states=form)
        batch = batch or estimate(learner, subject.batch(GROUPS, 2, 16, 112))
        accumulate_gradient(learner, batch)
        apply_gradient(learner, 1)
        subject.forget_peak()
        taken = subject.seconds(lambda learner=learner: apply_gradient(learner, 1), 2)  # type: ignore[misc]
        figures.add(
            f"{form}: seconds of the optimizer",
            taken,
            high=None if subject.dry else {"offload": 8.0}.get(form, 1.0),
            unit="s",
        )
        figures.add(f"{form}: peak memory", subject.peak(), unit="GB")
        learner.optimizer.zero_grad(set_to_none=True)
        del learner
        subject.forget_peak()
