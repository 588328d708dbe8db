"""Advantages of responses relative to the other responses of their group.

A group of one has nothing to compare with: its advantage is its reward. A group of equal rewards has advantages of
exactly 0, regardless of how its mean is rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dapoctl import Batch, Component, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.config import RunConfig


class _GroupRelative(Component):
    def check_run(self, config: RunConfig) -> None:
        if config.rollout.samples < 2:
            raise UserError(
                f"`rollout.samples` = {config.rollout.samples}: `{self.name}` compares the responses of a group, so it"
                " needs at least 2 (8 or 16 is usual)"
            )


def centred(batch: Batch) -> Tensor:
    """R_i - mean of its group [B]; 0 if all rewards of the group are equal, R_i in a group of one."""
    rewards = batch.rewards
    lowest = rewards.new_full((len(batch.problems),), float("inf")).scatter_reduce(0, batch.groups, rewards, "amin")
    highest = rewards.new_full((len(batch.problems),), -float("inf")).scatter_reduce(0, batch.groups, rewards, "amax")
    deviation = rewards - batch.group_mean(rewards)[batch.groups]
    deviation = deviation.masked_fill((lowest == highest)[batch.groups], 0.0)
    return deviation.where(batch.group_sizes()[batch.groups] > 1, rewards)


class Grpo(_GroupRelative):
    """Reward minus the group's mean, divided by the group's standard deviation."""

    paper: ClassVar[str] = "Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, Sec. 4.1.2"
    differs: ClassVar[str] = (
        "`eps` is added to the standard deviation, which is the unbiased one; the paper says neither. A group of one keeps its"
        " reward, a group of equal rewards has exactly 0."
    )

    scale: Literal["group", "batch", "none"] = "group"
    """Whose standard deviation (unbiased) divides: the group's, the batch's, or none."""
    eps: float = Field(1e-6, gt=0)
    """Added to the standard deviation."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        deviation, sizes = centred(batch), batch.group_sizes()
        if self.scale == "none":
            return deviation
        if self.scale == "batch":
            spread = batch.rewards.std(correction=min(1, len(batch.texts) - 1)).expand(sizes.shape)
        else:
            spread = (batch.group_sum(deviation.square()) / (sizes - 1).clamp(min=1)).sqrt()
        scaled = deviation / (spread + self.eps)[batch.groups]
        return scaled.where(sizes[batch.groups] > 1, deviation)


class DrGrpo(_GroupRelative):
    """Reward minus the group's mean, not divided by anything."""

    paper: ClassVar[str] = "Liu et al. 2025, Understanding R1-Zero-Like Training, arXiv:2503.20783, Sec. 3.2"
    differs: ClassVar[str] = (
        "The paper's other change, no division by a response's length, is the component `constant_length`."
    )

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        return centred(batch)


class Rloo(_GroupRelative):
    """Reward minus the mean of the other responses of the group (leave one out)."""

    paper: ClassVar[str] = "Ahmadian et al. 2024, Back to Basics, arXiv:2402.14740, Eq. 8"
    differs: ClassVar[str] = (
        "The paper multiplies it with a response's log-probability; here it goes into the run's policy loss."
    )

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        sizes = batch.group_sizes()[batch.groups]
        return centred(batch) * (sizes / (sizes - 1).clamp(min=1)).where(sizes > 1, sizes)
