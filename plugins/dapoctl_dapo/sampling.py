"""Dynamic sampling: train only on groups with a learning signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dapoctl import Batch, Component, Refill, UserError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.config import RunConfig


class Refilling(Component):
    """What the filters that sample further prompts have in common."""

    max_rounds: int = Field(10, ge=1)
    """Rounds of sampling per step, the first included."""
    on_exhausted: Literal["train_partial", "skip", "error"] = "train_partial"
    """When `max_rounds` did not fill the batch: train on the groups found, skip the step, or end the run."""
    max_staleness: int = Field(0, ge=0)
    """Steps for which a surplus group is kept to be trained on; 0 discards it, as the public code does."""

    def cannot_act(self, config: RunConfig) -> str:  # noqa: ARG002 (as every component's)
        if self.max_rounds == 1 and self.max_staleness == 0:
            return (
                f"`{self.name}.max_rounds` = 1 leaves out groups and samples no others in their place; set it to 2 or more, or"
                " use `zero_variance_mask`, which says so"
            )
        return ""

    def refill(self) -> Refill:
        """The plan that the parameters describe."""
        return Refill(self.max_rounds, self.on_exhausted, self.max_staleness)


class DynamicSampling(Refilling):
    """Keep groups with some but not all responses correct; further prompts are sampled until the batch is full."""

    paper: ClassVar[str] = "Yu et al. 2025, DAPO, arXiv:2503.14476, Sec. 3.2, Eq. 11"
    differs: ClassVar[str] = (
        "The paper's buffer keeps surplus groups, its public code discards them: `max_staleness` is 0 by default, as in the"
        " code. The paper samples until the batch is full; after `max_rounds` the step trains on the groups found."
    )

    def check_run(self, config: RunConfig) -> None:
        if config.rollout.samples < 2:
            raise UserError(
                f"`rollout.samples` = {config.rollout.samples}: `{self.name}` keeps groups with right and wrong responses,"
                " so it needs at least 2 of them (8 or 16 is usual)"
            )

    @hookimpl
    def filter_groups(self, batch: Batch) -> Tensor:
        right = batch.group_sum(batch.correct.float())
        return (right > 0) & (right < batch.group_sizes())

    @hookimpl
    def plan_refill(self) -> Refill:
        return self.refill()
