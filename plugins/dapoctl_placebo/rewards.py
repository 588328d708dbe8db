"""Rewards in place of the verifier's, as controls: what gains with them does not gain by being right.

Accuracies and filters that count right responses go on to see the verifier's verdict.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dapoctl import Batch, Component, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class RandomReward(Component):
    """1 or 0 by chance, whatever the response says. A model that gains by it did not need to be told what is right."""

    paper: ClassVar[str] = "Shao et al. 2025, Spurious Rewards, arXiv:2506.10947"
    probability: float = Field(0.5, gt=0, lt=1)
    """Of 1."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        import numpy as np

        # A function of what was asked in which step, so that a resumed run draws the same.
        seeds = [batch.step, *(zlib.crc32(problem.id.encode("utf-8", "surrogatepass")) for problem in batch.problems)]
        drawn = np.random.default_rng(seeds).random(len(batch.texts)) < self.probability
        return batch.scores.new_tensor(drawn) - batch.scores


class FormatReward(Component):
    """1 for a response that an answer can be read in, right or wrong; 0 for the others."""

    paper: ClassVar[str] = "Shao et al. 2025, Spurious Rewards, arXiv:2506.10947, format rewards"

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        found = [verdict.extracted is not None for verdict in batch.verdicts]
        return batch.scores.new_tensor(found) - batch.scores


class InvertedReward(Component):
    """Minus the verifier's score: a model that is trained with it must get worse."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return -2 * batch.scores
