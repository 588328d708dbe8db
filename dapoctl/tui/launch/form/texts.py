"""Values as people type and read them: as little quoting as can be, and TOML where that is not enough."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from dapoctl.components.none import NONE
from dapoctl.config.toml_literals import literal
from dapoctl.tui.launch.form.fields import MISSING, Field, Kind

PLAIN = (bool, int, float, str, list, dict)
"""Values that a configuration has; TOML knows dates besides"""


def read(field: Field, text: str) -> Any:
    """What was typed into a field. MISSING: nothing, so that the default stands.

    Raises:
        ValueError: it begins as a list or in quotes, and does not end so.
    """
    text = text.strip()
    if field.optional and text in ("", NONE):
        return None
    if field.kind == "choice":
        return next((choice for choice in field.choices if show_plain(choice) == text), text)
    if field.kind == "list":
        return _read_list(field, text)
    return _read_one(field.kind, text) if text or field.kind == "text" else MISSING


def _read_list(field: Field, text: str) -> Any:
    if text.startswith("["):
        return _toml(text)
    parts = [part.strip() for part in text.removesuffix(",").split(",")] if text else []
    return [_read_one(field.item, part) for part in parts]


def _read_one(kind: Kind, text: str) -> Any:
    if kind == "text" and not text.startswith(('"', "'")):
        return text
    if kind == "float":
        # TOML wants digits on both sides of the point; people do not.
        try:
            return float(text)
        except ValueError:
            return text
    try:
        value = _toml(text)
    except ValueError:
        if text.startswith(('"', "'", "[", "{")):
            raise
        return text
    return int(value) if kind == "int" and isinstance(value, float) and value.is_integer() else value


def _toml(text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        raise ValueError("is not a TOML literal; check its quotes and brackets") from None
    value = found.pop("value")
    return text if found or not isinstance(value, PLAIN) else value


def show(field: Field, value: Any) -> str:
    """The text that `read` reads as `value`."""
    if value is MISSING:
        return ""
    plain = _show_list(value) if isinstance(value, list) else show_plain(value)
    if plain.isprintable() and _reads_as(field, plain, value):
        return plain
    return literal(value)


def _reads_as(field: Field, text: str, value: Any) -> bool:
    try:
        return same(read(field, text), value)
    except ValueError:
        return False


def show_plain(value: Any) -> str:
    """A value without quotes, whatever reads it."""
    if value is None:
        return NONE
    return value if isinstance(value, str) else literal(value)


def _show_list(values: list[Any]) -> str:
    return ", ".join(map(show_plain, values))


def same(first: Any, second: Any) -> bool:
    """Whether two values are one; `1`, `1.0` and `true` are not."""
    if first is MISSING or second is MISSING:
        return first is second
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
