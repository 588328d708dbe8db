"""The work of a run in numbers, and mistakes in it that would show only after hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dapoctl.doctor.checks import Check
from dapoctl.doctor.engine import obstacle_of
from dapoctl.doctor.machine import GIB, disk
from dapoctl.doctor.memory import Estimate
from dapoctl.doctor.workload import FLOAT, STATE_BYTES, Workload, extremes
from dapoctl.runs.amounts import byte_size

if TYPE_CHECKING:
    from dapoctl.components.pipeline import Pipeline
    from dapoctl.config import RunConfig

ADAPTER_RATE = 2e-5
"""Learning rate below which adapters are doubtful"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sampled and trained. Counts are upper bounds where lengths or filters decide."""

    prompts: int
    samples: int
    steps: int
    updates_per_step: int
    micro_batches_per_update: int
    """At most"""
    tokens_per_step: int
    """Prompt and response tokens of the batch, at most"""
    rounds: int
    """Rounds of sampling in a step, at most"""
    evaluations: int
    eval_sets: int
    eval_problems: int
    """Of each set, at most"""
    eval_samples: int

    @property
    def responses_per_step(self) -> int:
        """P x G, in one round."""
        return self.prompts * self.samples

    @property
    def responses(self) -> int:
        """Sampled for training in the whole run, with one round a step."""
        return self.steps * self.responses_per_step

    @property
    def eval_responses(self) -> int:
        """Sampled for all evaluations, at most."""
        return self.evaluations * self.eval_sets * self.eval_problems * self.eval_samples


def plan_of(config: RunConfig, pipeline: Pipeline, device: str) -> Plan:
    """The plan of a resolved run on a device of type `device` (cpu, cuda)."""
    rollout, evaluation = config.rollout, config.eval
    evaluations = 0
    if evaluation.every:
        evaluations = 1 + config.steps // evaluation.every + bool(config.steps % evaluation.every)
    refills = list(pipeline.each("plan_refill").values())
    filters = bool(pipeline.providers("filter_groups"))
    return Plan(
        prompts=rollout.prompts,
        samples=rollout.samples,
        steps=config.steps,
        updates_per_step=min(config.optim.updates, rollout.prompts),
        micro_batches_per_update=extremes(config, device)[2],
        tokens_per_step=rollout.prompts * rollout.samples * (rollout.max_prompt_tokens + rollout.max_response_tokens),
        rounds=min((refill.max_rounds for refill in refills), default=_usual_rounds() if filters else 1),
        evaluations=evaluations,
        eval_sets=len(evaluation.set) or 1,
        eval_problems=evaluation.limit,
        eval_samples=evaluation.k,
    )


def _usual_rounds() -> int:
    from dapoctl.batch import Refill

    return Refill().max_rounds


def check_plan(config: RunConfig, plan: Plan, work: Workload | None) -> Iterator[Check]:
    """Certain mistakes that are cheap to find."""
    optim = config.optim
    if work is not None:
        yield from _positions(work)
        if obstacle := obstacle_of(work):
            name, text, fix = obstacle
            yield Check(name, "fail", text, fix)
        if optim.master_weights and not work.computes_16_bits:
            text = "`optim.master_weights` = true, but layers compute in float32 here: there is nothing to keep in fewer bits"
            yield Check("master weights", "fail", text, "--set model.dtype=bfloat16, or leave it out")
        for key in ("offload_weights", "offload_activations"):
            if getattr(config.train, key) and work.device == "cpu":
                yield Check(
                    key, "fail", f"`train.{key}` = true: there is no GPU whose memory it would save", "leave it out"
                )
    if config.lora.rank and optim.lr < ADAPTER_RATE:
        text = (
            f"`optim.lr` = {optim.lr:g} with adapters: they learn best at about ten times the rate of full weights (Schulman et"
            " al. 2025, LoRA Without Regret), and layers that compute in 16 bits round much of a smaller step's change away"
        )
        yield Check("learning rate", "warn", text, f"--set optim.lr={ADAPTER_RATE:g}")
    if optim.warmup_steps >= config.steps:
        text = f"`optim.warmup_steps` = {optim.warmup_steps} of {config.steps} steps: `optim.lr` is never reached"
        yield Check("warm-up", "warn", text, f"--set optim.warmup_steps={config.steps // 10}")
    if optim.updates > config.rollout.prompts:
        text = f"`optim.updates` = {optim.updates}, but there are only {config.rollout.prompts} groups to deal out"
        yield Check("updates", "warn", text, f"--set optim.updates={config.rollout.prompts}")
    if plan.eval_responses > plan.responses * plan.rounds:
        text = f"evaluations sample up to {plan.eval_responses:,} responses, training {plan.responses:,}"
        yield Check(
            "evaluation", "warn", text, f"--set eval.every={2 * config.eval.every}, or a lower eval.limit or eval.k"
        )


def _positions(work: Workload) -> Iterator[Check]:
    rollout, limit = work.config.rollout, work.shape.positions
    wanted = rollout.max_prompt_tokens + rollout.max_response_tokens
    if limit is not None and wanted > limit:
        text = (
            f"`rollout.max_prompt_tokens` = {rollout.max_prompt_tokens} and `rollout.max_response_tokens` ="
            f" {rollout.max_response_tokens} need {wanted} positions, the model has {limit}"
        )
        room = limit - rollout.max_prompt_tokens
        fix = f"--set rollout.max_response_tokens={room}" if room > 0 else "lower both"
        yield Check("positions", "fail", text, fix)


def checkpoint_bytes(work: Workload) -> int:
    """Bytes of one checkpoint: what is trained, in float32, and AdamW's two averages of it."""
    model = work.adapters or work.parameters.total
    return int(FLOAT * model + STATE_BYTES[work.config.optim.states] * work.trained)


def check_disk(config: RunConfig, work: Workload | None, runs: Path) -> Check:
    """Whether the checkpoints that are kept, and the one being written, have room."""
    folder, free = disk(runs)
    text = f"{byte_size(free)} free in {folder}"
    if work is None:
        return Check("disk", "ok" if free > GIB else "warn", text)
    one, count = checkpoint_bytes(work), config.checkpoint.keep + 1
    text += f"; {count} checkpoints of {byte_size(one)} at a time"
    if count * one > free:
        return Check("disk", "fail", text, "--set checkpoint.keep=1, or --runs-dir on a larger disk")
    return Check("disk", "ok", text)


def fits(work: Workload, estimate: Estimate, capacity: int, share: float = 1.0) -> bool:
    """Whether the estimate takes at most `share` of `capacity` bytes, and the engine would start."""
    return estimate.peak <= share * capacity and obstacle_of(work) is None
