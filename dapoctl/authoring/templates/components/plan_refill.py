"""Idea: how long to look for groups that pass the filters."""

from __future__ import annotations

from dapoctl import Component, Refill, hookimpl
from pydantic import Field


class Idea(Component):
    """Look for groups that pass the filters for `rounds` rounds, then train on those found; keep surplus groups."""

    rounds: int = Field(3, ge=1)
    """Rounds of sampling per step, the first included."""
    staleness: int = Field(1, ge=0)
    """Steps for which a surplus group may wait to be trained on; 0 discards it."""

    @hookimpl
    def plan_refill(self) -> Refill:
        return Refill(max_rounds=self.rounds, on_exhausted="train_partial", max_staleness=self.staleness)
