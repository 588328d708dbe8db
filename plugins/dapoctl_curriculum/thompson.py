"""Prompts that the policy may solve about half of the time, by Thompson sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, PrivateAttr

from dapoctl import Component, PromptPool, hookimpl
from dapoctl_curriculum.recent import Recent, draw_distinct, too_few_visits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapoctl.config import RunConfig


class Thompson(Component):
    """Draw every prompt's solve rate from its Beta posterior and take those nearest to `target`.

    Uncertain rates are drawn widely, so that every prompt gets its turn; none is sampled only to find out how hard it is.
    """

    paper: ClassVar[str] = "Qu et al. 2025, Model Predictive Prompt Selection, arXiv:2507.04632"
    differs: ClassVar[str] = (
        "Prompts that the step has already sampled come last, so that refilling filters find new ones."
    )

    target: float = Field(0.5, gt=0, lt=1)
    """The solve rate to train at. At 0.5 the rewards of a group vary most."""
    prior_right: float = Field(1.0, gt=0)
    """Right responses that every prompt is credited with: Beta's first parameter before anything is known."""
    prior_wrong: float = Field(1.0, gt=0)
    """Wrong responses that every prompt is credited with: Beta's second parameter before anything is known."""
    discount: float = Field(0.5, ge=0, le=1)
    """What a prompt's earlier outcomes count each time it is sampled again, since the policy has changed since: 0
    forgets them, 1 is the posterior of a policy that does not change."""

    _recent: Recent = PrivateAttr(default_factory=Recent)

    def cannot_act_on(self, config: RunConfig, problems: int) -> str:
        return too_few_visits(self.name, config, problems)

    @hookimpl
    def select_prompts(self, pool: PromptPool, count: int) -> list[int]:
        self._recent.update(pool, self.discount)
        right, wrong = self.posterior()
        distance = np.abs(pool.rng.beta(right, wrong) - self.target)
        chosen = draw_distinct(pool, count, lambda candidates, wanted: _nearest(candidates, distance, wanted))
        self.log("expected_accuracy", float((right / (right + wrong))[chosen].mean()))
        return chosen

    def posterior(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Beta's two parameters for every prompt."""
        right, attempts = self._recent.solved, self._recent.attempts
        return self.prior_right + right, self.prior_wrong + attempts - right

    def state_dict(self) -> dict[str, Any]:
        return self._recent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._recent.load_state_dict(state)


def _nearest(candidates: NDArray[np.int64], distance: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    return candidates[np.argsort(distance[candidates], kind="stable")[:count]]
