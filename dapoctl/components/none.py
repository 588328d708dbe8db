"""`none`: the word by which a file or a command line, which know no null, says that an optional parameter is none."""

from __future__ import annotations

import types
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

NONE = "none"


def read_none(model: type[BaseModel], values: Any) -> Any:
    """`values` for `model` with None in place of the word, where the parameter can be none and has no choice so called."""
    if not isinstance(values, dict):
        return values
    fields = model.model_fields
    return {key: _read(fields[key].annotation, value) if key in fields else value for key, value in values.items()}


def _read(annotation: Any, value: Any) -> Any:
    if isinstance(value, dict) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return read_none(annotation, value)
    return None if isinstance(value, str) and value == NONE and can_be_none(annotation) else value


def can_be_none(annotation: Any) -> bool:
    """Whether the word means None for a parameter of this type."""
    kinds = _alternatives(annotation)
    return type(None) in kinds and not any(NONE in _choices(kind) for kind in kinds)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _choices(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(item.value for item in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()


def written(model: BaseModel) -> dict[str, Any]:
    """What makes the same component, or a part of one, again."""
    found = model.model_dump(mode="json")
    for key, parameter in type(model).model_fields.items():
        if found.get(key, NONE) is None and parameter.get_default() is not None:
            found[key] = NONE
        elif isinstance(inner := getattr(model, key), BaseModel):
            found[key] = written(inner)
    return found
