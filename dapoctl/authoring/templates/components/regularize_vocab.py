"""Idea: a penalty on each token's whole distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dapoctl import Component, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Idea(Component):
    """Jensen-Shannon divergence from the reference: symmetric, and never above log 2."""

    coef: float = Field(1e-3, ge=0)
    """Weight of the penalty."""

    @hookimpl
    def regularize_vocab(self, logits: Tensor, ref_logits: Tensor) -> Tensor:
        log_p, log_q = logits.log_softmax(-1), ref_logits.log_softmax(-1)
        log_middle = log_p.logaddexp(log_q) - math.log(2)
        divergence = (log_p.exp() * (log_p - log_middle) + log_q.exp() * (log_q - log_middle)).sum(-1) / 2
        self.log(f"policy/{self.name}", divergence.detach())
        return self.coef * divergence
