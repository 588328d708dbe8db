"""Comparing and printing what hooks take and return."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHOWN = 8
"""Number of a tensor's values that a message shows"""
RTOL, ATOL = 1e-5, 1e-7
"""Two ways to compute the same in float64 agree far better, even if a component rounds to float32 on the way"""


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of one shape hold the same numbers up to rounding; NaN equals NaN."""
    if first.shape != second.shape:
        return False
    return torch.allclose(first.detach().double(), second.detach().double(), RTOL, ATOL, equal_nan=True)


def difference(first: Any, second: Any, where: str = "") -> str:
    """The place (`.rewards`, `[2]`) of the first difference between two values of any kind; empty if they are equal.

    Numbers and tensors are compared exactly, but NaN equals NaN.
    """
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return "" if _equal(first.detach(), second.detach()) else where or "it"
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return "" if np.array_equal(first, second, equal_nan=first.dtype.kind == "f") else where or "it"
    if type(first) is not type(second):
        return where or "it"
    if isinstance(first, (Mapping, list, tuple)) or dataclasses.is_dataclass(first):
        one, other = _parts(first), _parts(second)
        if list(one) != list(other):
            return where or "it"
        differences = (difference(value, other[key], f"{where}{key}") for key, value in one.items())
        return next((path for path in differences if path), "")
    if isinstance(first, np.random.Generator) or first is second or first == second:
        return ""
    return "" if isinstance(first, float) and first != first and second != second else where or "it"


def _equal(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return (
        torch.allclose(first, second, 0, 0, equal_nan=True) if first.is_floating_point() else torch.equal(first, second)
    )


def _parts(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {f"[{key!r}]": element for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return {f"[{index}]": element for index, element in enumerate(value)}
    return {f".{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)}


def show(value: Any) -> str:
    """A value on one line, short."""
    if isinstance(value, Tensor):
        flat = value.detach().flatten()
        text = f"[{', '.join(_number(x) for x in flat[:SHOWN].tolist())}{', ...' if len(flat) > SHOWN else ''}]"
        return text if value.dim() <= 1 else f"{text} in shape {list(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:117]}..."


def numbers(values: Any) -> str:
    """Nested sequences of numbers: `[[1, -1], [0.5]]`."""
    if isinstance(values, (list, tuple)):
        return f"[{', '.join(numbers(value) for value in values)}]"
    return _number(values)


def _number(value: float | bool) -> str:
    # Adding 0 turns a negative zero into a zero.
    return str(value) if isinstance(value, bool) else f"{value + 0:.4g}"
