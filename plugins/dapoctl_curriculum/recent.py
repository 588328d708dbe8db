"""Each prompt's recent outcomes, where newer ones count more; and drawing prompts without repetition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapoctl import PromptPool
    from dapoctl.config import RunConfig

VISITS = 2
"""Of each prompt, in the mean, from which earlier visits can be gone by"""
Draw = Callable[["NDArray[np.int64]", int], "NDArray[np.int64]"]
"""(candidates, count) -> `count` different ones of them"""


class Recent:
    """Responses and right ones per prompt, where every visit to a prompt discounts its earlier outcomes.

    The pool's own counts are sums over the whole run; what was added since the last update is a visit's outcome.
    """

    def __init__(self) -> None:
        self.attempts: NDArray[np.float64] = np.zeros(0)
        self.solved: NDArray[np.float64] = np.zeros(0)
        self._seen_attempts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._seen_solved: NDArray[np.int64] = np.zeros(0, np.int64)

    def update(self, pool: PromptPool, discount: float) -> None:
        """Add what happened since the last update; a pool of another size is another pool."""
        if len(self.attempts) != len(pool):
            self.attempts, self.solved = np.zeros(len(pool)), np.zeros(len(pool))
            self._seen_attempts, self._seen_solved = np.zeros((2, len(pool)), np.int64)
        new = pool.attempts - self._seen_attempts
        visited = new > 0
        self.attempts[visited] = discount * self.attempts[visited] + new[visited]
        right = (pool.solved - self._seen_solved)[visited]
        self.solved[visited] = discount * self.solved[visited] + right
        self._seen_attempts, self._seen_solved = pool.attempts.copy(), pool.solved.copy()

    def rates(self) -> NDArray[np.float64]:
        """The recent solve rate of each prompt; NaN if it was never sampled."""
        with np.errstate(invalid="ignore"):
            return self.solved / self.attempts

    def state_dict(self) -> dict[str, Any]:
        """The arrays as tensors, since a checkpoint cannot hold NumPy arrays."""
        import torch

        return {name: torch.tensor(values) for name, values in vars(self).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name in vars(self):
            setattr(self, name, state[name].numpy().copy())


def too_few_visits(name: str, config: RunConfig, problems: int) -> str:
    """Why a component that goes by what became of earlier visits knows of hardly any; empty if prompts come back.

    Filters that sample again visit more prompts than are counted here.
    """
    draws = config.steps * config.rollout.prompts
    if draws >= VISITS * problems:
        return ""
    return (
        f"`{name}` goes by what became of earlier visits to a prompt, and {draws:,} draws from {problems:,} problems visit each"
        f" {draws / problems:.1f} times; take at most {max(1, draws // VISITS):,} problems, or raise `steps`"
    )


def draw_distinct(pool: PromptPool, count: int, draw: Draw) -> list[int]:
    """`count` prompts, none of them twice while the pool has others; those that this step has already sampled come last.

    A step that needs more groups asks again, and would otherwise get the same prompts.
    """
    sampled = pool.last_step == pool.step
    chosen: list[int] = []
    while len(chosen) < count:
        for candidates in (np.flatnonzero(~sampled), np.flatnonzero(sampled)):
            wanted = min(count - len(chosen), len(candidates))
            if wanted:
                chosen += draw(candidates, wanted).tolist()
    return chosen
