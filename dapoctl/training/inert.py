"""Components that changed nothing in a whole run, which would have been the same without them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from dapoctl.components.pipeline import Pipeline

ENOUGH = 10
"""Steps below which a component may just not have had its occasion"""
CLIPPED = ("policy/clip_fraction_low", "policy/clip_fraction_high")
MASKED = "response/masked_fraction"
KEPT = "groups/kept_fraction"


def inert(rows: Sequence[Mapping[str, float]], pipeline: Pipeline, names: Collection[str]) -> list[str]:
    """What each of the components `names` never did, as a warning; empty for a run of fewer than `ENOUGH` steps.

    Args:
        rows: the metrics of each step
        pipeline: the run's components
        names: those that are judged
    """
    if len(rows) < ENOUGH:
        return []
    return [
        f"component `{name}` {what} in all {len(rows)} steps: without it this run would have been the same; {fix}"
        for name, what, fix in _idle(rows, pipeline)
        if name in names
    ]


def _idle(rows: Sequence[Mapping[str, float]], pipeline: Pipeline) -> Iterator[tuple[str, str, str]]:
    """(component, what it did not do, what to do about it)"""
    change = "change its parameters or the run's limits until it acts, or leave it out"
    other = "leave it out, or take problems of other difficulty"
    for name in pipeline.providers("shape_rewards"):
        if _always(rows, f"reward/{name}", 0.0):
            yield name, "added 0 to every reward", change
    for name in (*pipeline.providers("regularize"), *pipeline.providers("regularize_vocab")):
        if _always(rows, f"policy/{name}", 0.0):
            yield name, "penalised nothing", change
    for name in pipeline.providers("filter_groups"):
        if _always(rows, KEPT, 1.0):
            yield name, "left out no group", other
    for name in pipeline.providers("mask_responses"):
        if _always(rows, MASKED, 0.0):
            yield name, "masked no response", other
    sides = [side for side in CLIPPED if any(side in row for row in rows)]
    if sides and all(_always(rows, side, 0.0) for side in sides):
        for name in pipeline.providers("policy_loss"):
            yield name, "clipped no token", "raise `optim.updates` or `optim.lr`, or tighten its bounds"


def _always(rows: Sequence[Mapping[str, float]], metric: str, value: float) -> bool:
    found = [row[metric] for row in rows if metric in row and not math.isnan(row[metric])]
    return bool(found) and all(each == value for each in found)
