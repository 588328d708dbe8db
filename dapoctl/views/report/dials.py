"""Arms of a study that differ in one number, and so are points of a dial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dapoctl.runs.difference import dotted
from dapoctl.study.plan import Plan


@dataclass(frozen=True)
class Dial:
    """A key and the arms by its value."""

    key: str
    arms: tuple[tuple[float, str], ...]


def dials(plan: Plan) -> Iterator[Dial]:
    """Every key in which arms differ from one that they begin with, and in nothing else."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, arm in plan.study.arm.items():
        origin = plan.resolved.get(arm.origin)
        if name not in plan.resolved or origin is None:
            continue
        before, after = dotted(origin.as_dict()), dotted(plan.resolved[name].as_dict())
        changed = [key for key in {*before, *after} if before.get(key) != after.get(key)]
        if len(changed) == 1 and all(_is_number(values.get(changed[0])) for values in (before, after)):
            (key,) = changed
            found.setdefault((arm.origin, key), {arm.origin: before[key]})[name] = after[key]
    for (_, key), arms in found.items():
        yield Dial(key, tuple(sorted((float(value), name) for name, value in arms.items())))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
