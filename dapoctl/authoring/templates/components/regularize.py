"""Idea: a penalty on each sampled token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dapoctl import Component, Tokens, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Idea(Component):
    """Distance from the reference, d = logp - ref_logp, quadratic if it is small and linear if it is large.

    d^2 / (sqrt(1 + (d / width)^2) + 1), the pseudo-Huber loss in a form that is accurate near 0.
    """

    uses: ClassVar[frozenset[str]] = frozenset({"ref_logprobs"})
    per_token: ClassVar[bool] = True

    coef: float = Field(1e-3, ge=0)
    """Weight of the penalty."""
    width: float = Field(1.0, gt=0)
    """The distance at which the penalty turns from quadratic to linear."""

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        d = tokens.logprobs - tokens.ref_logprobs
        distance = d.square() / ((1 + (d / self.width).square()).sqrt() + 1)
        self.log(f"policy/{self.name}", distance.detach())
        return self.coef * distance
