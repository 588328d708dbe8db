"""Everything that a training step works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dapoctl.batch import Batch, Problem, PromptPool
from dapoctl.training.memory import memory_in_use
from dapoctl.training.metrics import Metrics
from dapoctl.training.response_rows import Sampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapoctl.components.pipeline import Pipeline
    from dapoctl.config import RunConfig
    from dapoctl.engines import Engine
    from dapoctl.models.policy import Policy

Phase = Callable[[str, int, int], None]
"""(phase, done, total): progress inside a step"""


def seed_for(seed: int, *purpose: int) -> int:
    """A 31-bit seed that is a function of the run's seed and of what it is for."""
    return int(np.random.SeedSequence([seed, *purpose]).generate_state(1)[0] >> 1)


@dataclass
class History:
    """What is known of each training problem; part of every checkpoint."""

    attempts: NDArray[np.int64]
    solved: NDArray[np.int64]
    last_step: NDArray[np.int64]

    @classmethod
    def empty(cls, size: int) -> History:
        """Nothing sampled yet."""
        return cls(np.zeros(size, np.int64), np.zeros(size, np.int64), np.full(size, -1, np.int64))

    def record(self, indices: list[int], correct: list[int], samples: int, step: int) -> None:
        """Add a round's outcome: `correct` of `samples` responses for each problem."""
        for index, right in zip(indices, correct, strict=True):
            self.attempts[index] += samples
            self.solved[index] += right
            self.last_step[index] = step

    def state_dict(self) -> dict[str, Any]:
        """The arrays as lists."""
        return {name: getattr(self, name).tolist() for name in ("attempts", "solved", "last_step")}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> History:
        """The inverse of `state_dict`."""
        return cls(**{name: np.asarray(values, np.int64) for name, values in state.items()})


@dataclass
class Learner:
    """A run's moving parts."""

    config: RunConfig
    pipeline: Pipeline
    policy: Policy
    reference: Policy | None
    """The frozen initial policy, when a component asks for it"""
    engine: Engine
    optimizer: torch.optim.Optimizer
    problems: list[Problem]
    prompt_ids: list[list[int]]
    history: History
    leftovers: list[Batch] = field(default_factory=list)
    """Groups that passed the filters and were too many, oldest first"""
    metrics: Metrics = field(default_factory=Metrics)
    default_metrics: Metrics = field(default_factory=Metrics)
    """The mean penalty of each regularizer, reported unless the component logs that name itself"""
    phase: Phase = lambda _phase, _done, _total: None
    sampled: Sampled = field(default_factory=Sampled)
    """This step's responses, trained on or not"""
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    """What losses are multiplied by, so that gradients are in the range of float16; enabled for a policy that computes in it"""

    def pool(self, step: int, round_: int) -> PromptPool:
        """The prompt pool as `select_prompts` sees it."""
        return PromptPool(
            problems=self.problems,
            attempts=self.history.attempts,
            solved=self.history.solved,
            last_step=self.history.last_step,
            seed=self.config.seed,
            step=step,
            rng=np.random.default_rng([self.config.seed, 1, step, round_]),
        )


def step_metrics(learner: Learner) -> dict[str, float]:
    """The step's metrics under the field's names."""
    metrics = learner.metrics
    values = metrics.result()
    defaults = {name: value for name, value in learner.default_metrics.result().items() if name not in values}
    for name in [name for name in values if name.endswith("/importance_weight")]:
        stem = name.removesuffix("weight")
        weight, square = values.pop(name), values.pop(f"{stem}square", None)
        if square:
            # Kish's effective sample size of the importance weights, as a fraction of the tokens.
            values[f"{stem}ess"] = weight**2 / square
    for name, tokens, phase in (
        ("generated", learner.sampled.tokens, "generate"),
        ("trained", values.pop("work/trained_tokens", 0.0), "update"),
    ):
        if metrics.seconds(phase) > 0:
            values[f"throughput/{name}_tokens_per_s"] = tokens / metrics.seconds(phase)
    values.setdefault("memory/peak_bytes", memory_in_use(learner.policy.device))
    return dict(sorted((values | defaults).items()))
