"""`none`: how a file or a command line, which have no null, sets an optional parameter to None."""

from __future__ import annotations

import types
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

NONE = "none"


def read_none(model: type[BaseModel], values: Any) -> Any:
    """`values` for `model` with None in place of `none`, where the parameter may be None and has no choice of that name."""
    if not isinstance(values, dict):
        return values
    fields = model.model_fields
    return {key: _read(fields[key].annotation, value) if key in fields else value for key, value in values.items()}


def _read(annotation: Any, value: Any) -> Any:
    if isinstance(value, dict) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return read_none(annotation, value)
    return None if isinstance(value, str) and value == NONE and can_be_none(annotation) else value


def can_be_none(annotation: Any) -> bool:
    """Whether `none` means None for a parameter of this type."""
    kinds = _alternatives(annotation)
    return type(None) in kinds and not any(NONE in _choices(kind) for kind in kinds)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _choices(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(member.value for member in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()


def dump_parameters(model: BaseModel) -> dict[str, Any]:
    """The parameters that build the same component, or the same part of one, again."""
    values = model.model_dump(mode="json")
    for key, parameter in type(model).model_fields.items():
        if values.get(key, NONE) is None and parameter.get_default() is not None:
            values[key] = NONE
        elif isinstance(nested := getattr(model, key), BaseModel):
            values[key] = dump_parameters(nested)
    return values
