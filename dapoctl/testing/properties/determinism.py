"""Properties of two calls with the same input: the same result, and an unchanged input."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dapoctl.testing.cases import Case
from dapoctl.testing.results import Broken
from dapoctl.testing.subject import Subject, call, kept_generators, seed_everything
from dapoctl.testing.values import difference, show


def repeatable(subject: Subject, hook: str) -> str:
    """Two new instances return the same for the same input, regardless of numpy's, torch's and Python's global generators."""
    cases = list(subject.cases(hook))
    first, second = (_results(subject, hook, cases, seed) for seed in (0, 1))
    for case, one, other in zip(cases, first, second, strict=True):
        if difference(one, other):
            raise Broken(case, f"first {show(one)}, then {show(other)}")
    return ""


def _results(subject: Subject, hook: str, cases: Sequence[Case], seed: int) -> list[Any]:
    with kept_generators(), subject.opened() as pipeline:
        seed_everything(seed)
        return [_detached(call(pipeline, hook, case.arguments(torch.float64), case)) for case in cases]


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def read_only(subject: Subject, hook: str) -> str:
    """No tensor, array, list or table of the input is changed."""
    with subject.opened() as pipeline:
        for case in subject.cases(hook):
            arguments = case.arguments(torch.float64)
            before = copy.deepcopy(arguments)
            call(pipeline, hook, arguments, case)
            for name, value in arguments.items():
                path = difference(before[name], value, name)
                if path:
                    was, now = _value_at(before, name, path), _value_at(arguments, name, path)
                    raise Broken(case, f"`{path}` was {was} and is {now}")
    return ""


def _value_at(arguments: dict[str, Any], name: str, path: str) -> str:
    """The value of the attribute that `path` begins with."""
    attribute = path.removeprefix(name).lstrip(".").partition("[")[0].partition(".")[0]
    value = arguments[name]
    return show(getattr(value, attribute) if attribute else value)
