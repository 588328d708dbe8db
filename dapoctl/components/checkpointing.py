"""What components give to a checkpoint and take back, and their end: each failure names its component."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from dapoctl.components.base import Component
from dapoctl.components.culprit import place, told
from dapoctl.errors import DapoctlError, HookError

# Exactly these: a NumPy number is a float, too, and is not read back from a checkpoint.
SCALARS = (bool, int, float, complex, str, bytes, type(None))
LISTS = (list, tuple, set)
TABLES = (dict, collections.OrderedDict)
ALLOWED = "tensors, numbers, strings, and lists and dicts of these"


def collect(components: Mapping[str, Component]) -> dict[str, dict[str, Any]]:
    """State of every component, empty for those that have none.

    Raises:
        HookError: one raised, or gave what a checkpoint cannot hold.
    """
    states = {}
    for name, component in components.items():
        try:
            state = component.state_dict()
        except Exception as error:
            raise _failed(name, component, "state_dict", error) from error
        if not isinstance(state, dict):
            raise HookError(
                f"component `{name}`, `state_dict` returned {type(state).__name__}; it must return a dict of {ALLOWED}"
            )
        if problem := _unfit(state, "state_dict()"):
            raise HookError(f"component `{name}`, {problem}; a checkpoint holds {ALLOWED}")
        states[name] = state
    return states


def restore(components: Mapping[str, Component], states: Mapping[str, dict[str, Any]]) -> None:
    """Give every component its state back; one that had none and has some by now is given an empty one.

    Raises:
        HookError: one raised.
    """
    for name, state in states.items():
        component = components[name]
        try:
            if state or component.state_dict():
                component.load_state_dict(state)
        except Exception as error:
            raise _failed(name, component, "load_state_dict", error) from error


def close(components: Mapping[str, Component]) -> None:
    """Close every component, whatever becomes of the others.

    Raises:
        HookError: of the first that raised, once all had their turn.
    """
    failures = []
    for name, component in components.items():
        try:
            component.close()
        except Exception as error:  # noqa: BLE001 (raised below)
            failures.append((_failed(name, component, "close", error), error))
    if failures:
        failure, cause = failures[0]
        raise failure from cause


def _failed(name: str, component: Component, method: str, error: Exception) -> HookError:
    if isinstance(error, DapoctlError):
        return HookError(f"component `{name}`, `{method}`: {error}{place(error, type(component))}")
    return HookError(f"component `{name}`, `{method}` raised {told(error, type(component))}")


def _unfit(value: Any, where: str) -> str:
    """What in `value` cannot be saved and read back without running code, and where; an empty string if nothing."""
    import torch

    if type(value) in SCALARS or isinstance(value, torch.Size):
        return ""
    if isinstance(value, torch.Tensor):
        if value.requires_grad and not value.is_leaf:
            return f"`{where}` is a tensor with a gradient's history: `.detach()` it"
        return ""
    if type(value) in LISTS:
        return next((bad for i, item in enumerate(value) if (bad := _unfit(item, f"{where}[{i}]"))), "")
    if type(value) in TABLES:
        pairs = [(key, f"{where}[{key!r}]") for key in value]
        bad = next((bad for key, at in pairs if (bad := _unfit(key, f"key of {at}"))), "")
        return bad or next((bad for key, at in pairs if (bad := _unfit(value[key], at))), "")
    return f"`{where}` is {type(value).__module__.partition('.')[0]}'s {type(value).__qualname__}"
