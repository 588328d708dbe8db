"""Models that ship with dapoctl, and the run defaults that a model folder may carry."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from dapoctl.errors import ConfigError

SHIPPED = Path(__file__).parent
DEFAULTS = "dapoctl.toml"


def locate(path: str) -> str:
    """The local folder of a shipped model's name; any other path or hub name as it is."""
    shipped = SHIPPED / path
    return str(shipped) if path.isidentifier() and (shipped / "config.json").is_file() else path


def kind_of(path: str) -> Literal["folder", "gguf", "hub", ""]:
    """What the path or name of a model stands for: a folder, a GGUF file, or a name on the hub (owner/name); empty for none of
    these. Nothing is looked up on the hub, and a folder need not hold a model."""
    source = Path(locate(path)).expanduser()
    if source.is_dir():
        return "folder"
    if source.suffix == ".gguf" and source.is_file():
        return "gguf"
    owner, _, name = path.partition("/")
    return "hub" if owner and name and "/" not in name and not path.startswith((".", "~")) else ""


def default_config(path: str) -> tuple[dict[str, Any], str]:
    """The run defaults in the model's folder (`dapoctl.toml`), and the file's name for messages; empty without one.

    Raises:
        ConfigError: the file is not TOML.
    """
    file = Path(locate(path)) / DEFAULTS
    if not file.is_file():
        return {}, str(file)
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")), str(file)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the model's defaults `{file}` are not TOML: {error}") from None
