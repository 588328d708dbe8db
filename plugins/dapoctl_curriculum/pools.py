"""Prompts drawn by how hard they were recently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from dapoctl import Component, PromptPool, hookimpl
from dapoctl_curriculum.recent import Recent, draw_distinct, too_few_visits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapoctl.config import RunConfig

POOLS = ("unseen", "hard", "medium", "easy", "retired")


class DifficultyPools(Component):
    """Draw prompts by their recent solve rate: a prompt's chance is proportional to the weight of its pool.

    Solved prompts retire, and return after a while or when no others are left, so that a run never runs out of prompts.
    """

    paper: ClassVar[str] = (
        "Kimi Team 2025, Kimi k1.5, arXiv:2501.12599 (prioritized sampling); pools: Prime Intellect 2025, INTELLECT-3,"
        " arXiv:2512.16144"
    )
    differs: ClassVar[str] = (
        "Kimi k1.5 draws a prompt in proportion to 1 - its solve rate; here the rate is a recent one and decides the pool."
        " INTELLECT-3 sets a pool's share of the batch; here a weight is a prompt's, so that a pool's share grows with it."
    )

    unseen: float = Field(1.0, ge=0)
    """Weight of a prompt that was never sampled."""
    hard: float = Field(1.0, ge=0)
    """Weight of a prompt whose solve rate is below `hard_below`."""
    medium: float = Field(2.0, ge=0)
    """Weight of a prompt in between."""
    easy: float = Field(0.5, ge=0)
    """Weight of a prompt whose solve rate is above `easy_above`."""
    hard_below: float = Field(0.25, ge=0, le=1)
    """Solve rate below which a prompt is hard."""
    easy_above: float = Field(0.75, ge=0, le=1)
    """Solve rate above which a prompt is easy."""
    retire_at: float = Field(0.95, gt=0, le=1)
    """Solve rate from which a prompt is no longer drawn."""
    return_after: int = Field(50, ge=1)
    """Steps after which a retired prompt is drawn again, to see whether it is still solved."""
    discount: float = Field(0.5, ge=0, le=1)
    """What a prompt's earlier outcomes count each time it is sampled again: 0 forgets them, 1 is the rate of the whole run."""

    _recent: Recent = PrivateAttr(default_factory=Recent)

    @model_validator(mode="after")
    def _in_order(self) -> DifficultyPools:
        if self.hard_below > self.easy_above:
            raise ValueError(f"hard_below = {self.hard_below} must not be above easy_above = {self.easy_above}")
        return self

    def cannot_act_on(self, config: RunConfig, problems: int) -> str:
        return too_few_visits(self.name, config, problems)

    @hookimpl
    def select_prompts(self, pool: PromptPool, count: int) -> list[int]:
        self._recent.update(pool, self.discount)
        pool_index = self._pools(pool)
        for index, name in enumerate(POOLS):
            self.log(f"{name}_fraction", float((pool_index == index).mean()))
        weights = np.array([self.unseen, self.hard, self.medium, self.easy, 0.0])[pool_index]

        def draw(candidates: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
            drawable = candidates[weights[candidates] > 0]
            if wanted <= len(drawable):
                chances = weights[drawable] / weights[drawable].sum()
                return pool.rng.choice(drawable, wanted, replace=False, p=chances)
            # Everything with a weight, then what was sampled longest ago.
            retired = pool.rng.permutation(candidates[weights[candidates] == 0])
            oldest = retired[np.argsort(pool.last_step[retired], kind="stable")]
            return np.concatenate([pool.rng.permutation(drawable), oldest[: wanted - len(drawable)]])

        return draw_distinct(pool, count, draw)

    def _pools(self, pool: PromptPool) -> NDArray[np.int64]:
        """The index in `POOLS` of each prompt's pool."""
        rates = self._recent.rates()
        retired = (rates >= self.retire_at) & (pool.step - pool.last_step < self.return_after)
        conditions = [np.isnan(rates), retired, rates < self.hard_below, rates > self.easy_above]
        names = ("unseen", "retired", "hard", "easy")
        return np.select(conditions, [POOLS.index(name) for name in names], POOLS.index("medium"))

    def state_dict(self) -> dict[str, Any]:
        return self._recent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._recent.load_state_dict(state)
