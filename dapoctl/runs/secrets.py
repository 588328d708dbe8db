"""Secrets: how they are recognized, so that none is written into a run's record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dapoctl.errors import ConfigError

NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|AUTH|CRED", re.IGNORECASE)
"""In the name of an environment variable"""
NO_SECRETS = "TOKENIZERS_"
"""Beginning of names that only look like it"""
LOGIN = re.compile(r"(://)[^/\s@]+@")
"""A user and a password, or a token, in a URL"""
IN_QUERY = re.compile(
    r"(?:(?<=[?&;=\s])|^)((?:[\w-]+[_-])?(?:token|api_?key|key|secret|password|passwd|pass|auth|credentials?)=)[^&;\s]+",
    re.IGNORECASE,
)
"""`token=...`, in the query of a URL or alone"""
SETTING = re.compile(
    r"^(?:--[\w-]+=)?([\w.-]*(?<![a-z])(?:token|api_?key|secret|password|passwd|auth|credentials?)=)(.+)$", re.I | re.S
)
"""`key=value` on a command line, where the key says that its value is secret"""
HIDDEN = "***"


def is_secret(name: str, value: str) -> bool:
    """Whether an environment variable must not be written down."""
    named = NAME.search(name.upper().removeprefix(NO_SECRETS))
    return bool(named or LOGIN.search(value) or IN_QUERY.search(value))


def without_secrets(words: Iterable[str]) -> list[str]:
    """A command line with what is secret in it replaced by `***`."""
    return [_hidden(word) for word in words]


def check_values(config: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse a configuration whose values hold a login: a run is continued from its record, so they cannot be left out of it.

    Raises:
        ConfigError: naming the key.
    """
    for key, value in config.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, Mapping):
                check_values(item, f"{prefix}{key}.")
            elif isinstance(item, str) and (LOGIN.search(item) or ("://" in item and IN_QUERY.search(item))):
                raise ConfigError(
                    f"`{prefix}{key}` = {_hidden(item)!r} holds a password or token, which would be written to spec.json;"
                    " let the component read it from an environment variable"
                )


def _hidden(word: str) -> str:
    word = IN_QUERY.sub(rf"\1{HIDDEN}", LOGIN.sub(rf"\1{HIDDEN}@", word))
    found = SETTING.match(word)
    return f"{word[: found.start(2)]}{HIDDEN}" if found else word
