"""Whether a component that is saved and loaded continues as if nothing had happened."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dapoctl.components.pipeline import Pipeline
from dapoctl.testing.plain_cases import PoolCase
from dapoctl.testing.results import Broken
from dapoctl.testing.subject import OBSERVERS, TENSOR_HOOKS, Subject, call, kept_generators, notify, seed_everything
from dapoctl.testing.values import difference, show

BEFORE, AFTER = 2, 3
"""Steps before and after the checkpoint"""
ALLOWED = (Tensor, int, float, str, bool, type(None))


def state(subject: Subject, _hook: str) -> str:
    """What `state_dict` returns can be saved, and a new instance that loads it behaves as the old one from then on."""
    case = f"{BEFORE} steps, a checkpoint, {AFTER} more steps"
    with kept_generators(), subject.opened() as old, subject.opened() as new:
        for step in range(1, BEFORE + 1):
            play(subject, old, step)
        saved = _state(subject, old, case)
        data = _stored(saved, case)
        try:
            new.components[subject.name].load_state_dict(data)
        except Exception as error:
            raise Broken(case, f"load_state_dict raised {type(error).__name__}: {error}") from error
        path = difference(saved, _state(subject, new, case), "state")
        if path:
            raise Broken(case, f"after loading, `{path}` differs from what was saved: {show(saved)}")
        for step in range(BEFORE + 1, BEFORE + AFTER + 1):
            ours, theirs = play(subject, old, step), play(subject, new, step)
            for hook, result in ours.items():
                if difference(result, theirs[hook]):
                    where = f"{case}; hook `{hook}` in step {step}"
                    raise Broken(where, f"without interruption {show(result)}, resumed {show(theirs[hook])}")
    return "" if saved else "it has none"


def play(subject: Subject, pipeline: Pipeline, step: int) -> dict[str, Any]:
    """What the component returns in one step, by hook; inputs differ from step to step."""
    seed_everything(step)
    results: dict[str, Any] = {}
    for hook in subject.hooks:
        if hook in TENSOR_HOOKS:
            case = subject.cases(hook)[-step % len(subject.cases(hook))]
            result = call(pipeline, hook, case.arguments(torch.float64), case)
            results[hook] = result.detach() if isinstance(result, Tensor) else result
        elif hook == "select_prompts":
            pool = PoolCase(7, 3, "new" if step == 1 else "mixed", step)
            results[hook] = [int(index) for index in call(pipeline, hook, pool.arguments(torch.float64), pool)]
    if "on_step_end" in subject.hooks and {*subject.hooks} - {*OBSERVERS}:
        notify(pipeline, "on_step_end", f"step {step}", step=step, metrics={"reward/mean": 0.5})
    return results


def _state(subject: Subject, pipeline: Pipeline, case: str) -> dict[str, Any]:
    try:
        state = pipeline.components[subject.name].state_dict()
    except Exception as error:
        raise Broken(case, f"state_dict raised {type(error).__name__}: {error}") from error
    if not isinstance(state, dict):
        raise Broken(case, f"state_dict returned {type(state).__name__}")
    _check(state, "state", case)
    return state


def _check(value: Any, where: str, case: str) -> None:
    """A checkpoint is loaded without running code, so it can only hold plain data."""
    if type(value) in ALLOWED or isinstance(value, Tensor):
        return
    if type(value) in (list, tuple):
        elements: Any = enumerate(value)
    elif isinstance(value, Mapping) and type(value) is dict:
        elements = value.items()
    else:
        fix = (
            "Return tensors, numbers, texts, and lists and dicts of these, such as `array.tolist()` for a numpy array."
        )
        raise Broken(case, f"`{where}` is a {type(value).__module__}.{type(value).__name__}: {show(value)}", fix)
    for key, element in elements:
        _check(element, f"{where}[{key!r}]", case)


def _stored(state: dict[str, Any], case: str) -> Any:
    """`state` after a round trip through a checkpoint file."""
    file = io.BytesIO()
    try:
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)
    except Exception as error:
        raise Broken(case, f"the state cannot be stored: {type(error).__name__}: {error}") from error
