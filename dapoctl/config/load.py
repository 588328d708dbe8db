"""Configuration as text and as layers: merged values, and where each of them came from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.components.none import NONE
from dapoctl.config.schema import RunConfig
from dapoctl.errors import ConfigError
from dapoctl.models import default_config

COMMAND_LINE = "--set"


@dataclass
class Layers:
    """Configuration values merged in order; later layers win, and each value remembers where it came from."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, layer: Mapping[str, Any], source: str) -> None:
        """Deep-merge `layer` over what is there."""
        if isinstance(layer.get("model"), str):
            layer = {**layer, "model": {"path": layer["model"]}}
        self._merge(self.values, layer, source, "")

    def _merge(self, into: dict[str, Any], layer: Mapping[str, Any], source: str, prefix: str) -> None:
        for key, value in layer.items():
            path = f"{prefix}{key}"
            if isinstance(value, Mapping):
                if not isinstance(into.get(key), dict):
                    into[key] = {}
                self.sources.setdefault(path, source)
                self._merge(into[key], value, source, f"{path}.")
            else:
                into[key], self.sources[path] = value, source


def flatten(config: RunConfig) -> dict[str, Any]:
    """`config` in the form of a TOML file, one table per component; None is left out, or written
    as `none` if the default is something else."""
    defaults, _ = default_config(config.model.path)
    values = _spell_none({**config.model_dump(exclude={"components"}), **config.components}, defaults)
    return {key: value for key, value in values.items() if value != {}}


def _spell_none(table: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`table` without None, or with `none` in its place where `defaults` has a value."""
    spelled: dict[str, Any] = {}
    for key, value in table.items():
        default = defaults.get(key)
        if isinstance(value, dict):
            spelled[key] = _spell_none(value, default if isinstance(default, dict) else {})
        elif value is not None:
            spelled[key] = value
        elif default is not None:
            spelled[key] = NONE
    return spelled


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: it is missing or malformed.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file `{path}`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file `{path}` cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration file `{path}` is not TOML: {error}") from None


def parse_override(text: str) -> dict[str, Any]:
    """`a.b=value` as nested tables; the value is a TOML literal, or a bare word taken as text.

    Raises:
        ConfigError: no `=`, or an empty part of the key.
    """
    key, separator, value = text.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {text!r}: the form is key=value, such as --set steps=3 or --set optim.lr=1e-5")
    result: Any = _literal(value.strip())
    for part in reversed(parts):
        result = {part: result}
    assert isinstance(result, dict)
    return result


def _literal(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        # Text may well begin with a bracket: `{problem}`, `[INST]`. Where it cannot be text, its key refuses it.
        if text.startswith(('"', "'")):
            raise ConfigError(f"--set value {text!r} is not a TOML literal; check its quotes and brackets") from None
        return text


def split_names(values: Sequence[str]) -> list[str] | None:
    """`["a,b", "c"]` -> `["a", "b", "c"]`; None when the option was not given."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()] or None
