"""Which of the sampled groups to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dapoctl_dapo.sampling import Refilling
from pydantic import Field, model_validator

from dapoctl import Batch, Component, Refill, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.config import RunConfig


class AccuracyRange(Refilling):
    """Keep groups whose mean accuracy lies strictly between `lo` and `hi`; further prompts are sampled for the others."""

    paper: ClassVar[str] = "Bae et al. 2025, Online Difficulty Filtering, arXiv:2504.03380 (balanced filtering)"
    differs: ClassVar[str] = (
        "What to do when a batch does not fill up is set as for `dynamic_sampling`, which is lo 0, hi 1."
    )

    lo: float = Field(0.2, ge=0, lt=1)
    """Groups at or below this mean accuracy are dropped."""
    hi: float = Field(0.8, gt=0, le=1)
    """Groups at or above this mean accuracy are dropped."""

    @model_validator(mode="after")
    def _some_room(self) -> AccuracyRange:
        if self.lo >= self.hi:
            raise ValueError(f"lo = {self.lo} must be below hi = {self.hi}")
        return self

    def check_run(self, config: RunConfig) -> None:
        samples = config.rollout.samples
        if not any(self.lo < right / samples < self.hi for right in range(samples + 1)):
            raise UserError(
                f"`{self.name}` keeps groups between `lo` = {self.lo} and `hi` = {self.hi}, and no number of right answers"
                f" among `rollout.samples` = {samples} is; widen the range or sample more"
            )

    @hookimpl
    def filter_groups(self, batch: Batch) -> Tensor:
        # In float64, k / G equals the decimal that a user writes, so that the bounds are exact.
        accuracy = batch.group_sum(batch.correct.double()) / batch.group_sizes().double()
        return (accuracy > self.lo) & (accuracy < self.hi)

    @hookimpl
    def plan_refill(self) -> Refill:
        return self.refill()


class ZeroVarianceMask(Component):
    """No weight for groups whose responses all have the same reward; nothing is sampled in their place.

    Their advantages are 0, but they do count in the denominators of the loss and in penalties. Without them the gradient
    has the scale of a batch of the groups that are left. A group of one is kept: it has nothing to be equal to.
    """

    paper: ClassVar[str] = (
        "Khatri et al. 2025, The Art of Scaling RL Compute, arXiv:2510.13786 (zero-variance filtering)"
    )

    def cannot_act(self, config: RunConfig) -> str:
        filters = [name for name in ("dynamic_sampling", "accuracy_range") if name in config.components]
        if not filters:
            return ""
        return f"`{filters[0]}` leaves out the groups that it would mask; choose one, `--plugins -{filters[0]}` or without it"

    @hookimpl
    def mask_responses(self, batch: Batch) -> Tensor:
        rewards = batch.rewards
        lowest = rewards.new_full((len(batch.problems),), float("inf")).scatter_reduce(0, batch.groups, rewards, "amin")
        highest = rewards.new_full(lowest.shape, -float("inf")).scatter_reduce(0, batch.groups, rewards, "amax")
        keep = (lowest < highest) | (batch.group_sizes() < 2)
        self.log("groups/zero_variance", (~keep).float())
        return keep[batch.groups]
