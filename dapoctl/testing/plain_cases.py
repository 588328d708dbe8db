"""Inputs for the hooks without tensors: prompt pools, problems and texts, splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from dapoctl.batch import Problem, PromptPool
from dapoctl.testing.cases import Arguments

PROBLEMS = tuple(Problem(str(index), f"{index}+{index}=", str(2 * index)) for index in range(5))
"""Used if a component has none of its own"""


@dataclass(frozen=True)
class PoolCase:
    """A prompt pool and how many prompts to choose from it."""

    problems: int
    count: int
    history: Literal["new", "solved", "unsolved", "mixed"] = "new"
    step: int = 1

    def pool(self) -> PromptPool:
        """The pool; its generator is a function of the step, as in a run."""
        indices = np.arange(self.problems)
        attempts = np.full(self.problems, 0 if self.history == "new" else 8)
        if self.history == "mixed":
            attempts = indices * 3 % 4 * 8
        share = {"new": 0 * indices, "unsolved": 0 * indices, "solved": 8 + 0 * indices, "mixed": indices % 9}[
            self.history
        ]
        return PromptPool(
            problems=[Problem(str(index), f"{index}+{index}=", str(2 * index)) for index in range(self.problems)],
            attempts=attempts,
            solved=np.minimum(attempts * share // 8, attempts),
            last_step=np.where(attempts > 0, self.step - 1, -1),
            seed=0,
            step=self.step,
            rng=np.random.default_rng([0, 1, self.step, 0]),
        )

    def arguments(self, _dtype: torch.dtype) -> Arguments:
        return {"pool": self.pool(), "count": self.count}

    def __str__(self) -> str:
        known = {
            "new": "none sampled yet",
            "solved": "all solved",
            "unsolved": "none ever solved",
            "mixed": "some solved",
        }
        problems = f"{self.problems} problem{'s' if self.problems > 1 else ''}"
        return f"count {self.count} of a pool of {problems}, {known[self.history]}, step {self.step}"


POOLS = (
    PoolCase(1, 1),
    PoolCase(1, 3),
    PoolCase(2, 1, "solved"),
    PoolCase(2, 2, "unsolved"),
    PoolCase(2, 5, "solved"),
    PoolCase(5, 3),
    PoolCase(5, 3, "mixed", step=7),
    PoolCase(40, 8, "mixed", step=7),
)
TEXTS = (
    "",
    " ",
    "0",
    "the answer is 4",
    "#4",
    "\\boxed{4}",
    "Answer: 4",
    "\x00\x1b[2J",
    "\ud800",
    "4" * 5000,
    "{{}} %s [red]",
)
"""What a model may write; a verifier must return a verdict on anything"""


@dataclass(frozen=True)
class TextCase:
    """A response to a problem."""

    problem: Problem
    text: str

    def arguments(self, _dtype: torch.dtype) -> Arguments:
        return {"problem": self.problem, "text": self.text}

    def __str__(self) -> str:
        text = repr(self.text) if len(self.text) < 60 else f"{self.text[:40]!r}... ({len(self.text)} characters)"
        return f"problem {self.problem.prompt!r} with answer {self.problem.answer!r}, text {text}"


@dataclass(frozen=True)
class SplitCase:
    """A split of a task's problems, or no argument at all."""

    values: dict[str, str] = field(default_factory=dict)

    def arguments(self, _dtype: torch.dtype) -> Arguments:
        return dict(self.values)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value!r}" for name, value in self.values.items()) or "no arguments"


def text_cases(problems: Sequence[Problem]) -> list[TextCase]:
    """The first problem with every text, and with its own answer."""
    first = problems[0]
    return [TextCase(first, text) for text in (*TEXTS, first.answer)]
