"""Values as TOML literals and as `--set` takes them: the way back from what `parse_override` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dapoctl.components.none import NONE
from dapoctl.config.load import parse_override
from dapoctl.errors import ConfigError


def override(key: str, value: Any) -> str:
    """`key=value` for `--set`: a bare word where that is read as the same text, else a TOML literal."""
    if isinstance(value, str) and _is_bare(key, value):
        return f"{key}={value}"
    return f"{key}={literal(value)}"


def _is_bare(key: str, text: str) -> bool:
    if not text.isprintable():
        return False
    wanted: Any = text
    for part in reversed(key.split(".")):
        wanted = {part: wanted}
    try:
        return bool(parse_override(f"{key}={text}") == wanted)
    except ConfigError:
        return False


def literal(value: Any) -> str:
    """A value of a configuration on one line of TOML, without a character that a terminal would act upon; None is the word
    for it."""
    if value is None:
        return f'"{NONE}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_quoted(str(key))} = {literal(item)}' for key, item in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(literal(item) for item in value)}]"
    raise TypeError(f"{type(value).__name__} is no value of a configuration")


def _quoted(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    if letter in '"\\\b\t\n\f\r':
        return json.dumps(letter)[1:-1]
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04X}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08X}"
