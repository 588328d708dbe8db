"""Saving, restoring and closing components; each failure names its component."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from dapoctl.components.base import Component
from dapoctl.components.culprit import describe_error, error_location
from dapoctl.errors import DapoctlError, HookError

# Exactly these types: a NumPy float is also a `float`, but cannot be read back from a checkpoint.
SCALARS = (bool, int, float, complex, str, bytes, type(None))
LISTS = (list, tuple, set)
TABLES = (dict, collections.OrderedDict)
ALLOWED = "tensors, numbers, strings, and lists and dicts of these"


def collect(components: Mapping[str, Component]) -> dict[str, dict[str, Any]]:
    """State of every component, empty for those that have none.

    Raises:
        HookError: one raised, or returned what a checkpoint cannot hold.
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
        if problem := _unsavable(state, "state_dict()"):
            raise HookError(f"component `{name}`, {problem}; a checkpoint holds {ALLOWED}")
        states[name] = state
    return states


def restore(components: Mapping[str, Component], states: Mapping[str, dict[str, Any]]) -> None:
    """Restore every component's state; one that saved none but has some now gets an empty one.

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
    """Close every component, even if others fail.

    Raises:
        HookError: the first failure, raised after all were closed.
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
        return HookError(f"component `{name}`, `{method}`: {error}{error_location(error, type(component))}")
    return HookError(f"component `{name}`, `{method}` raised {describe_error(error, type(component))}")


def _unsavable(value: Any, where: str) -> str:
    """What in `value` cannot be saved and read back without running code, and where; an empty string if nothing."""
    import torch

    if type(value) in SCALARS or isinstance(value, torch.Size):
        return ""
    if isinstance(value, torch.Tensor):
        if value.requires_grad and not value.is_leaf:
            return f"`{where}` is a tensor with gradient history; call `.detach()` on it"
        return ""
    if type(value) in LISTS:
        return next((problem for i, item in enumerate(value) if (problem := _unsavable(item, f"{where}[{i}]"))), "")
    if type(value) in TABLES:
        pairs = [(key, f"{where}[{key!r}]") for key in value]
        problem = next((problem for key, at in pairs if (problem := _unsavable(key, f"key of {at}"))), "")
        return problem or next((problem for key, at in pairs if (problem := _unsavable(value[key], at))), "")
    return f"`{where}` is {type(value).__module__.partition('.')[0]}'s {type(value).__qualname__}"
