"""How long a run takes on a GPU, from arithmetic alone: what is computed and what is read, against the GPU's data sheet.

Nothing of it is measured. Sampling is bound by memory: each token of a batch needs every weight and every sequence's keys and
values read once. An update is bound by arithmetic. What must be assumed is in `Assumptions`, and is shown with the result.

Shapes: P prompts, G responses each, N parameters of the language model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dapoctl.doctor.gpus import KnownGpu
from dapoctl.doctor.machine import GIB
from dapoctl.doctor.memory import Estimate
from dapoctl.doctor.plan import Plan
from dapoctl.doctor.workload import Workload

HOUR = 3600.0
FORWARD, BACKWARD = 2, 4
"""Operations for a parameter and a token; half of the backward pass is for the weights' gradients"""


@dataclass(frozen=True)
class Assumptions:
    """What is not known before a run."""

    length: float = 0.5
    """Tokens of the mean response, as a share of the most that it may have"""
    prompt: float = 0.5
    """The same of prompts"""
    rounds: float = 2.0
    """Rounds of sampling that a step takes on average, where filters ask for more"""
    used_flops: float = 0.35
    """Share of the GPU's operations that an update reaches"""
    used_bandwidth: float = 0.6
    """Share of the GPU's bandwidth that sampling reaches"""

    def words(self) -> list[str]:
        """One line for each."""
        return [
            f"responses are {self.length:.0%} as long as allowed on average, prompts {self.prompt:.0%}",
            f"where filters sample again, a step takes {self.rounds:g} rounds on average",
            f"updates reach {self.used_flops:.0%} of the GPU's bfloat16 operations, sampling {self.used_bandwidth:.0%} of its"
            " memory bandwidth",
            "scoring, saving, Python and kernel launches take no time, though small models wait for these most",
        ]


@dataclass(frozen=True)
class Hours:
    """Of a run."""

    sampling: float
    updating: float
    evaluating: float

    @property
    def total(self) -> float:
        """All of it; saving and scoring are not counted."""
        return self.sampling + self.updating + self.evaluating


def hours(work: Workload, plan: Plan, memory: Estimate, gpu: KnownGpu, assumed: Assumptions | None = None) -> Hours:
    """Hours of a run on one GPU.

    Args:
        memory: of the run, for the room that sampling has
    """
    assumed = assumed or Assumptions()
    rounds = min(assumed.rounds, plan.rounds) if plan.rounds > 1 else 1.0
    sampled = _sampling_seconds(work, memory, gpu, assumed, plan.responses_per_step) * rounds
    trained = _update_flops(work, assumed) / (assumed.used_flops * gpu.flops)
    at_once = plan.eval_problems * plan.eval_samples * plan.eval_sets
    evaluated = _sampling_seconds(work, memory, gpu, assumed, at_once) if plan.evaluations else 0.0
    return Hours(
        plan.steps * sampled / HOUR,
        plan.steps * trained / HOUR,
        plan.evaluations * evaluated / HOUR,
    )


def _sampling_seconds(work: Workload, memory: Estimate, gpu: KnownGpu, assumed: Assumptions, sequences: int) -> float:
    """Seconds to sample so many responses."""
    rollout, size = work.config.rollout, work.parameters.language
    mean, most = assumed.length * rollout.max_response_tokens, rollout.max_response_tokens
    kept = work.kv_cache(1, int(assumed.prompt * rollout.max_prompt_tokens + mean / 2))
    longest = work.kv_cache(1, int(assumed.prompt * rollout.max_prompt_tokens + mean))
    room = max(0.5 * GIB, memory.generating.get("engine", 0) - 2 * size)
    at_once = max(1, min(sequences, int(room // max(1, longest))))

    def step(rows: float) -> float:
        read = (2 * size + rows * kept) / (assumed.used_bandwidth * gpu.bandwidth)
        return max(read, FORWARD * size * rows / (assumed.used_flops * gpu.flops))

    # The last ones go on alone until the longest is over.
    return math.ceil(mean * sequences / at_once) * step(at_once) + (most - mean) * step(1)


def _update_flops(work: Workload, assumed: Assumptions) -> float:
    """Operations of all updates of a step."""
    config = work.config
    rollout, size = config.rollout, work.parameters.language
    prompt, response = assumed.prompt * rollout.max_prompt_tokens, assumed.length * rollout.max_response_tokens
    copies = 1 if config.train.packing else rollout.samples
    tokens = rollout.prompts * (copies * prompt + rollout.samples * response)
    context = prompt + response / 2
    passes = FORWARD + (BACKWARD / 2 if work.adapters else BACKWARD)
    passes += FORWARD * config.train.gradient_checkpointing
    # Log-probabilities under the old policy, of all that the first update does not train on; and those of the frozen policy.
    passes += FORWARD * (1 - 1 / min(config.optim.updates, rollout.prompts)) + FORWARD * work.compares
    shape = work.shape
    seen = shape.sliding_layers * min(context, shape.sliding_window or context)
    seen += (shape.layers - shape.sliding_layers) * context
    attention = 2 * shape.heads * shape.head_dim * seen
    return passes * tokens * (size + attention)
