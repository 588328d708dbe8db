"""Checks of what a hook returned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dapoctl.errors import HookError


def expect(result: Any, shape: tuple[int, ...], component: str, hook: str, *, or_shape: tuple[int, ...] = ()) -> Tensor:
    """`result` if it is a tensor of the shape that the hook promises, without NaN or infinite values.

    Raises:
        HookError: naming component and hook, what was returned and what it must return.
    """
    where = f"component `{component}`, hook `{hook}`"
    allowed = f"{list(shape)}" + (f" or {list(or_shape)}" if or_shape else "")
    if not isinstance(result, Tensor):
        raise HookError(
            f"{where} returned {type(result).__name__}; it must return a torch tensor of shape {allowed}"
            f"{_how_to_convert(result)}"
        )
    if tuple(result.shape) not in ({tuple(shape), tuple(or_shape)} if or_shape else {tuple(shape)}):
        raise HookError(f"{where} returned shape {list(result.shape)}; it must return {allowed}")
    if result.is_complex():
        raise HookError(f"{where} returned complex numbers; it must return real ones")
    if result.is_floating_point() and not bool(torch.isfinite(result.detach()).all()):
        bad = int((~torch.isfinite(result.detach())).sum())
        raise HookError(
            f"{where} returned {bad} values of {result.numel()} that are NaN or infinite; look for a division by zero"
            " or the logarithm of one (a group whose rewards are all equal has no spread)"
        )
    return result


def _how_to_convert(result: Any) -> str:
    if isinstance(result, (bool, int, float)):
        return ": `torch.full` makes a tensor of a number"
    return (
        ": `torch.as_tensor` converts it" if isinstance(result, (list, tuple)) or hasattr(result, "__array__") else ""
    )
