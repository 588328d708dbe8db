"""The errors that dapoctl raises on purpose: one hierarchy, each message names what to do next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

TRACEBACK = "traceback in"
"""Start of the note on an exception that says where its traceback was saved"""


class DapoctlError(Exception):
    """Base of every error that dapoctl raises on purpose. The CLI prints it without a traceback."""

    exit_code = 1


class UserError(DapoctlError):
    """The user asked for something impossible; exit code 2."""

    exit_code = 2


class ConfigError(UserError):
    """A key, value or file of the configuration is wrong."""


class PluginError(UserError):
    """A component is unknown, broken, in conflict with another, or breaks its hook's contract."""


class HookError(PluginError):
    """A component raised, or returned what its hook does not allow, during a run."""

    exit_code = 1


class DataError(UserError):
    """A data file is missing, malformed or empty."""


class ModelError(UserError):
    """A model cannot be loaded or does not suit the run."""


class EngineError(UserError):
    """A rollout engine is not installed or cannot be started."""


class StorageError(DapoctlError):
    """The run directory cannot be written or read."""


class DivergedError(DapoctlError):
    """The model's numbers are not finite any more, and no component is to blame."""


class OutOfMemoryError(DapoctlError):
    """A run needed more memory than is available."""

    def __init__(self, where: str, phase: str, message: str) -> None:
        super().__init__(
            f"out of memory ({where}), in phase `{phase}`: {' '.join(message.split())[:300]}; `dapoctl doctor` with the run's"
            " options estimates what each part takes, and says what to change"
        )


class RunWarning(UserWarning):
    """Something the user should know about a run that continues."""


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """`" Did you mean `x`?"` for the closest of `known`, or an empty string."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean `{close[0]}`?" if close else ""


def validation_message(error: Any, model: Any, prefix: str = "", sources: Mapping[str, str] | None = None) -> str:
    """One line per problem of a pydantic ValidationError: key, value, what is allowed, nearest name, where it was set."""
    return "\n".join(_problem(detail, model, prefix, sources or {}) for detail in error.errors(include_url=False))


def _problem(detail: Mapping[str, Any], model: Any, prefix: str, sources: Mapping[str, str]) -> str:
    path = [str(part) for part in detail["loc"]]
    key = ".".join([*([prefix] if prefix else []), *path])
    source = next((sources[k] for k in (key, key.rpartition(".")[0]) if k in sources), "")
    origin = f" (from {source})" if source else ""
    if detail["type"] == "extra_forbidden":
        known = _fields_at(model, path[:-1])
        allowed = f" Known here: {', '.join(known)}." if known else " It has no parameters."
        return f"unknown key `{key}`{origin}.{nearest(path[-1], known)}{allowed}"
    demand = reason(detail)
    if not key:
        # Of several keys together, which it names itself: the whole configuration says nothing.
        return demand
    text = detail["input"] if detail["type"].endswith(("_type", "_parsing")) else ""
    if isinstance(text, str) and text.startswith(("[", "{")):
        demand += " (it is not a TOML literal either: check its quotes and brackets)"
    if detail["type"] in ("model_type", "dict_type", "model_attributes_type"):
        example = (_fields_at(model, path) or ["key"])[0]
        return f"`{key}` = {detail['input']!r}{origin}: must be a table, such as `{key}.{example}`"
    if detail["type"] == "missing":
        return f"`{key}` is missing{origin}; it has no default, so set it (`--set {key}=...`)"
    return f"`{key}` = {detail['input']!r}{origin}: {demand}"


def reason(detail: Mapping[str, Any]) -> str:
    """What one of a ValidationError's errors demands: `must be greater than 0`."""
    # "Input should be greater than 0", "String should match pattern ...": the key takes the place of the subject.
    return re.sub(r"^\w+ should ", "must ", str(detail["msg"]).removeprefix("Value error, "))


def _fields_at(model: Any, path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        model = field.annotation if field else None
        if not hasattr(model, "model_fields"):
            return []
    return list(model.model_fields)
