"""Idea: a policy objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dapoctl import Component, Tokens, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Idea(Component):
    """A policy gradient with a penalty instead of a clip: -A r + coef (log r)^2 / 2."""

    per_token: ClassVar[bool] = True

    coef: float = Field(1.0, ge=0)
    """Weight of the penalty on the ratio r of the new to the old policy."""

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        log_ratio = tokens.logprobs - tokens.old_logprobs
        self.log("log_ratio", log_ratio.detach().abs())
        # Clamped, so that one wrong log-probability does not give infinity.
        ratio = log_ratio.clamp(-20.0, 20.0).exp()
        return -tokens.advantages * ratio + self.coef * log_ratio.square() / 2
