"""The errors that dapoctl raises on purpose: one hierarchy, each message names what to do next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

TRACEBACK = "traceback in"
"""How a note on an exception begins that says where its traceback was kept"""


class DapoctlError(Exception):
    """Base of every error that dapoctl raises on purpose. The CLI prints it without a traceback."""

    exit_code = 1


class UserError(DapoctlError):
    """The user asked for something that cannot be; exit code 2."""

    exit_code = 2


class ConfigError(UserError):
    """A key, value or file of the configuration is wrong."""


class PluginError(UserError):
    """A component is unknown, broken, in conflict with another, or breaks its hook's contract."""


class HookError(PluginError):
    """A component raised, or returned what its hook does not allow, while a run was under way."""

    exit_code = 1


class DataError(UserError):
    """A data file is missing, malformed or empty."""


class ModelError(UserError):
    """A model cannot be loaded or does not fit what the run asks of it."""


class EngineError(UserError):
    """A rollout engine is not installed or cannot be started."""


class StorageError(DapoctlError):
    """The run directory cannot be written or read."""


class OutOfMemoryError(DapoctlError):
    """A run needed more memory than there is."""

    def __init__(self, where: str, phase: str, what: str) -> None:
        super().__init__(
            f"out of memory ({where}), in phase `{phase}`: {' '.join(what.split())[:300]}; `dapoctl doctor` with the run's"
            " options estimates what each part takes, and says what to change"
        )


class RunWarning(UserWarning):
    """Something about a run that its user should know, though it goes on."""


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """`" Did you mean `x`?"` for the closest of `known`, or an empty string."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean `{close[0]}`?" if close else ""


def validation_message(error: Any, model: Any, prefix: str = "", sources: Mapping[str, str] | None = None) -> str:
    """One line per problem of a pydantic ValidationError: key, value, what is allowed, nearest name, where it was set."""
    return "\n".join(_problem(item, model, prefix, sources or {}) for item in error.errors(include_url=False))


def _problem(item: Mapping[str, Any], model: Any, prefix: str, sources: Mapping[str, str]) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join([*([prefix] if prefix else []), *path])
    source = next((sources[k] for k in (key, key.rpartition(".")[0]) if k in sources), "")
    origin = f" (from {source})" if source else ""
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, path[:-1])
        allowed = f" Known here: {', '.join(known)}." if known else " It has no parameters."
        return f"unknown key `{key}`{origin}.{nearest(path[-1], known)}{allowed}"
    text = reason(item)
    if item["type"] in ("model_type", "dict_type", "model_attributes_type"):
        example = (_fields_at(model, path) or ["key"])[0]
        return f"`{key}` = {item['input']!r}{origin}: must be a table, such as `{key}.{example}`"
    if item["type"] == "missing":
        return f"`{key}` is missing{origin}; it has no default, so set it (`--set {key}=...`)"
    return f"`{key}` = {item['input']!r}{origin}: {text}"


def reason(item: Mapping[str, Any]) -> str:
    """What a ValidationError's item demands: `must be greater than 0`."""
    # "Input should be greater than 0", "String should match pattern ...": the key takes the place of the subject.
    return re.sub(r"^\w+ should ", "must ", str(item["msg"]).removeprefix("Value error, "))


def _fields_at(model: Any, path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        model = field.annotation if field else None
        if not hasattr(model, "model_fields"):
            return []
    return list(model.model_fields)
