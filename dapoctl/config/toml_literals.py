"""Values as TOML literals and as `--set` takes them: the inverse of `parse_override`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dapoctl.components.none import NONE
from dapoctl.config.load import parse_override
from dapoctl.errors import ConfigError


def override(key: str, value: Any) -> str:
    """`key=value` for `--set`: a bare word if it is read as the same text, else a TOML literal."""
    if isinstance(value, str) and _is_bare(key, value):
        return f"{key}={value}"
    return f"{key}={literal(value)}"


def _is_bare(key: str, text: str) -> bool:
    if not text.isprintable():
        return False
    expected: Any = text
    for part in reversed(key.split(".")):
        expected = {part: expected}
    try:
        return bool(parse_override(f"{key}={text}") == expected)
    except ConfigError:
        return False


def literal(value: Any) -> str:
    """A value of a configuration on one line of TOML, without control characters; None is `none`."""
    if value is None:
        return f'"{NONE}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_quoted(str(key))} = {literal(element)}' for key, element in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(literal(element) for element in value)}]"
    raise TypeError(f"{type(value).__name__} is not a configuration value")


def _quoted(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\\b\t\n\f\r':
        return json.dumps(character)[1:-1]
    if character.isprintable():
        return character
    return f"\\u{ord(character):04X}" if ord(character) < 0x10000 else f"\\U{ord(character):08X}"
