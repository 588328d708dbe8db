"""Keys: every binding has an id, and a file can give it other keys."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from textual.binding import Binding

from dapoctl.errors import ConfigError, nearest


def key(keys: str, action: str, description: str, id: str, show: bool = True) -> Binding:  # noqa: A002 (its name there)
    """A binding with the id by which the keymap file knows it, such as `runs.compare`."""
    return Binding(keys, action, description, show=show, id=id)


def keymap_path() -> Path:
    """Where a user's own keys are, if there are any."""
    import platformdirs

    return platformdirs.user_config_path("dapoctl") / "keys.toml"


def read_keymap(path: Path, known: Iterable[str]) -> dict[str, str]:
    """Keys by binding id from a TOML file of lines such as `"runs.compare" = "c,C"`.

    Args:
        known: every id that there is

    Raises:
        ConfigError: the file cannot be read, or names a binding that does not exist.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"keymap `{path}` cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f'keymap `{path}`: {error}; a line looks like `"runs.compare" = "c"`') from None
    ids, found = sorted(known), {}
    for name, keys in _flat(values).items():
        if name not in ids:
            raise ConfigError(
                f"keymap `{path}`: there is no binding `{name}`.{nearest(name, ids)} Known: {', '.join(ids)}"
            )
        if not isinstance(keys, str) or not keys:
            raise ConfigError(f'keymap `{path}`: `{name}` = {keys!r}: must be keys such as "c" or "c,ctrl+k"')
        found[name] = keys
    return found


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
