"""A component's parameters in words, from its pydantic schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from dapoctl.components.base import Component

BOUNDS = {
    "exclusiveMinimum": "> {}",
    "minimum": ">= {}",
    "exclusiveMaximum": "< {}",
    "maximum": "<= {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matches {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}
WORDS = {"number": "float", "integer": "int", "string": "text", "boolean": "bool", "null": "none", "object": "table"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a component."""

    name: str
    type: str
    default: Any
    required: bool
    bounds: tuple[str, ...]
    meaning: str


class _Lenient(GenerateJsonSchema):
    """A field that JSON schema cannot describe is still listed."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:  # noqa: ARG002
        return {}


def schema_of(cls: type[Component]) -> dict[str, Any]:
    """The JSON schema of the component's parameters."""
    return cls.model_json_schema(schema_generator=_Lenient)


def parameters_of(cls: type[Component]) -> list[Parameter]:
    """The component's parameters in the order of its class."""
    schema = schema_of(cls)
    required = schema.get("required", [])
    return [_parameter(name, field, name in required) for name, field in schema.get("properties", {}).items()]


def _parameter(name: str, field: Mapping[str, Any], required: bool) -> Parameter:
    meaning = " ".join(str(field.get("description", "")).split())
    return Parameter(name, _type(field), field.get("default"), required, tuple(_bounds(field)), meaning)


def _type(field: Mapping[str, Any]) -> str:
    if "enum" in field or "const" in field:
        return " | ".join(str(choice) for choice in field.get("enum", [field.get("const")]))
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        return " | ".join(dict.fromkeys(_type(choice) for choice in choices))
    kind = field.get("type")
    if kind == "array":
        return f"list of {_type(field.get('items', {}))}"
    return WORDS.get(str(kind), "table" if "$ref" in field else str(kind or "any"))


def _bounds(field: Mapping[str, Any]) -> list[str]:
    found = [words.format(field[key]) for key, words in BOUNDS.items() if key in field]
    for choice in field.get("anyOf", []):
        found += _bounds(choice)
    return found
