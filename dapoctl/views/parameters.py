"""A component's parameters in words, from its pydantic schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from pydantic import BaseModel

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


def schema_of(cls: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a component's parameters, or of another table's."""
    return cls.model_json_schema(schema_generator=_Lenient)


def parameters_of(cls: type[BaseModel]) -> list[Parameter]:
    """The component's parameters in the order of its class."""
    schema = schema_of(cls)
    required = schema.get("required", [])
    return [_parameter(name, field, name in required) for name, field in properties(schema).items()]


def properties(schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The schema of each parameter by name, with what it refers to in its place."""
    known = schema.get("$defs", {})
    return {name: _expanded(field, known, ()) for name, field in schema.get("properties", {}).items()}


def _expanded(field: Mapping[str, Any], known: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    found = dict(field)
    name = str(found.pop("$ref", "")).rpartition("/")[2]
    if name and name not in within:
        # A class's docstring says less about the parameter than its own.
        found = {**_expanded(known.get(name, {}), known, (*within, name)), **found}
    for key in ("anyOf", "oneOf"):
        if key in found:
            found[key] = [_expanded(choice, known, within) for choice in found[key]]
    if isinstance(found.get("items"), Mapping):
        found["items"] = _expanded(found["items"], known, within)
    return found


def _parameter(name: str, field: Mapping[str, Any], required: bool) -> Parameter:
    meaning = " ".join(str(field.get("description", "")).split())
    return Parameter(name, type_words(field), field.get("default"), required, tuple(bounds_words(field)), meaning)


def type_words(field: Mapping[str, Any]) -> str:
    """The type that a parameter's schema allows, such as `int | none`."""
    if "enum" in field or "const" in field:
        return " | ".join(str(choice) for choice in field.get("enum", [field.get("const")]))
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        return " | ".join(dict.fromkeys(type_words(choice) for choice in choices))
    kind = field.get("type")
    if kind == "array":
        return f"list of {type_words(field.get('items', {}))}"
    return WORDS.get(str(kind), "table" if "$ref" in field else str(kind or "any"))


def bounds_words(field: Mapping[str, Any]) -> list[str]:
    """The bounds in a parameter's schema, such as `>= 0`."""
    found = [words.format(field[key]) for key, words in BOUNDS.items() if key in field]
    for choice in field.get("anyOf", []):
        found += bounds_words(choice)
    return found
