"""Fields of the form, made from pydantic schemas: of the run's own tables and of any component."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from dapoctl.components.none import NONE
from dapoctl.config.schema import RunConfig
from dapoctl.errors import reason
from dapoctl.views.parameters import bounds_words, properties, schema_of, type_words

Kind = Literal["bool", "choice", "int", "float", "text", "list", "any"]
KINDS: dict[str, Kind] = {"boolean": "bool", "integer": "int", "number": "float", "string": "text", "array": "list"}
APART = ("recipe", "plugins", "components")
"""Of a run: the checklist of components says these"""


class _Missing:
    def __repr__(self) -> str:
        return "needed"


MISSING = _Missing()
"""The default of a parameter that has none"""


@dataclass(frozen=True, eq=False)
class Field:
    """One parameter."""

    path: tuple[str, ...]
    """Keys from the top of the configuration"""
    kind: Kind
    default: Any
    """In the form of a TOML file, None where it has none; or MISSING"""
    bare: Any
    """`default` once anything else in its table is set: a nested table's default may say more than its class does"""
    optional: bool = False
    choices: tuple[Any, ...] = ()
    item: Kind = "any"
    """Of a list"""
    type: str = ""
    bounds: tuple[str, ...] = ()
    meaning: str = ""

    @property
    def key(self) -> str:
        """Dotted, as `--set` takes it."""
        return ".".join(self.path)

    @property
    def hint(self) -> str:
        """Type and bounds in words."""
        return ", ".join([self.type, *self.bounds])


@dataclass(frozen=True, eq=False)
class Sheet:
    """The fields of one class: of a component under its name, or of the run itself."""

    name: str
    """Empty for the run"""
    cls: type[BaseModel]
    fields: tuple[Field, ...]

    def refusal(self, field: Field, values: Mapping[str, Any]) -> str:
        """Why the class refuses what `values` say about `field`, in the validator's words; empty when it does not.

        Args:
            values: the whole configuration, nested
        """
        table = values.get(self.name, {}) if self.name else {k: v for k, v in values.items() if k in self._own}
        place = field.path[1:] if self.name else field.path
        try:
            self.cls.model_validate(table)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                if tuple(str(part) for part in item["loc"])[: len(place)] == place:
                    return reason(item)
        except Exception:  # noqa: BLE001 (a third party's class; what it says of the whole is told with the whole)
            return ""
        return ""

    @property
    def _own(self) -> frozenset[str]:
        return frozenset({*self.cls.model_fields} - {*APART})


@functools.cache
def run_sheet() -> Sheet:
    """The fields of a run, without its components'."""
    return Sheet("", RunConfig, tuple(_fields(RunConfig, (), None, skip=APART)))


@functools.cache
def sheet_of(name: str, cls: type[BaseModel]) -> Sheet:
    """The fields of a component."""
    return Sheet(name, cls, tuple(_fields(cls, (name,), None)))


def _fields(
    cls: type[BaseModel], path: tuple[str, ...], given: Mapping[str, Any] | None, skip: tuple[str, ...] = ()
) -> Iterator[Field]:
    """`given` is the default of the whole table, where that is nested."""
    schema = schema_of(cls)
    required, bare = schema.get("required", []), _defaults(cls)
    for name, found in properties(schema).items():
        if name in skip or name not in cls.model_fields:
            continue
        usual = bare.get(name, MISSING if name in required else found.get("default"))
        default = usual if given is None else given.get(name, usual)
        inner = cls.model_fields[name].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(default, dict):
            yield from _fields(inner, (*path, name), default)
        else:
            yield _field((*path, name), found, default, usual)


def _defaults(cls: type[BaseModel]) -> dict[str, Any]:
    """What an instance holds that nobody told anything; empty where the class cannot say."""
    try:
        return cls.model_construct().model_dump(mode="json", warnings=False)
    except Exception:  # noqa: BLE001 (a third party's class; its schema has defaults too)
        return {}


def _field(path: tuple[str, ...], schema: Mapping[str, Any], default: Any, bare: Any) -> Field:
    kind, optional, choices, items = _kind(schema)
    if optional and NONE in choices and default is not None:
        optional = False
    return Field(
        path,
        kind,
        default,
        bare,
        optional,
        (*choices, None) if optional and kind == "choice" else choices,
        _kind(items)[0] if kind == "list" else "any",
        type_words(schema),
        tuple(dict.fromkeys(bounds_words(schema))),
        " ".join(str(schema.get("description", "")).split()),
    )


def _kind(schema: Mapping[str, Any]) -> tuple[Kind, bool, tuple[Any, ...], Mapping[str, Any]]:
    """Kind, whether it can be none, choices, schema of a list's items."""
    branches = schema.get("anyOf") or schema.get("oneOf") or [schema]
    real = [branch for branch in branches if branch.get("type") != "null"]
    optional = len(real) < len(branches)
    choices = [choice for branch in real for choice in _choices(branch)]
    if real and all("enum" in branch or "const" in branch for branch in real):
        return "choice", optional, tuple(choices), {}
    if len(real) != 1:
        return "any", optional, (), {}
    kind = KINDS.get(str(real[0].get("type")), "any")
    if kind == "bool" and optional:
        return "choice", optional, (True, False), {}
    return kind, optional, (), real[0].get("items") or {}


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    return list(schema["enum"]) if "enum" in schema else [schema["const"]] if "const" in schema else []
