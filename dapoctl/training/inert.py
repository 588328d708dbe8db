"""Components that changed nothing in a whole run, which would have been the same without them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from dapoctl.components.culprit import describe_error
from dapoctl.components.pipeline import Pipeline

ENOUGH = 10
"""Steps below which a component may just not have had its occasion"""
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
    metrics: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            metrics.setdefault(name, []).append(value)
    found = []
    for name, words in _idle(metrics, pipeline):
        if name in names:
            what, _, fix = words.partition("; ")
            told = f"component `{name}` {what} in all {len(rows)} steps: the run would have been the same without it"
            found.append(f"{told}; {fix}" if fix else told)
    return found


def _idle(metrics: Mapping[str, Sequence[float]], pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """(component, what it did not do and what to change)"""
    other = "leave it out, or take problems of other difficulty"
    for name in pipeline.providers("shape_rewards"):
        if _always(metrics, f"reward/{name}", 0.0):
            yield name, "added 0 to every reward; change its parameters or the run's limits until it acts"
    for name in pipeline.providers("filter_groups"):
        if _always(metrics, KEPT, 1.0):
            yield name, f"left out no group; {other}"
    for name in pipeline.providers("mask_responses"):
        if _always(metrics, MASKED, 0.0):
            yield name, f"masked no response; {other}"
    for name, component in pipeline.components.items():
        try:
            why = component.did_not_act(metrics)
        except Exception as error:  # noqa: BLE001 (the run is over: it is no reason to call it failed)
            yield name, f"may not have acted: `did_not_act` raised {describe_error(error, type(component))}"
            continue
        if why:
            yield name, why


def _always(metrics: Mapping[str, Sequence[float]], name: str, value: float) -> bool:
    found = [each for each in metrics.get(name, ()) if not math.isnan(each)]
    return bool(found) and all(each == value for each in found)
