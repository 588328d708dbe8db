"""An evaluation's `summary.json`: model, protocol and problems, and how two summaries differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapoctl.evaluation.protocol import Protocol
from dapoctl.runs.files import SCHEMA

if TYPE_CHECKING:
    import torch

TRAINING, COMMAND = "training", "eval"
"""What made an evaluation: a run while it trained, or the command"""
UNKNOWN = "unknown"
SHORT = 60
"""Characters of a value that a message shows"""


def summary_of(
    label: str, step: int, protocol: Protocol, data: Mapping[str, Any], model: str, weights: str = ""
) -> dict[str, Any]:
    """The summary of an evaluation that has not started.

    Args:
        label: the set's name
        step: of the checkpoint; 0 for a model before training
        protocol: how it is prompted and sampled
        data: the result of `Source.describe`
        model: path or hub name
        weights: which weights, if the model's path does not identify them
    """
    return {
        "schema": SCHEMA,
        "set": label,
        "step": step,
        "complete": False,
        "made": COMMAND,
        "protocol": protocol.as_dict(),
        "data": dict(data),
        "model": model,
        "weights": weights,
        "metrics": {},
        "seconds": 0.0,
        "generated_tokens": 0,
        "devices": [],
    }


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """How `wanted` differs from `stored`, such as `k: 32 stored, 4 requested`; empty if they are the same."""
    changed = []
    old, new = _table(stored, "protocol"), _table(wanted, "protocol")
    for key in new:
        if key != "name" and old.get(key, UNKNOWN) != new[key]:
            changed.append(_difference(key.replace("_", "-"), old.get(key, UNKNOWN), new[key]))
    old, new = _table(stored, "data"), _table(wanted, "data")
    if old.get("sha256", UNKNOWN) != new["sha256"]:
        for key in ("problems", "source", "split"):
            if old.get(key, UNKNOWN) != new[key]:
                changed.append(_difference(key, old.get(key, UNKNOWN), new[key]))
        if not any(key in text for text in changed for key in ("problems:", "source:")):
            changed.append("the problems themselves have changed")
    changed += [
        _difference(key, old_value, new_value)
        for key, old_value, new_value in _changed(_table(old, "parameters"), _table(new, "parameters"))
    ]
    for key in ("model", "weights"):
        if stored.get(key, UNKNOWN) != wanted[key]:
            changed.append(_difference(key, stored.get(key, UNKNOWN), wanted[key]))
    return changed


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, stored, requested) of the task's parameters that both know and that differ."""
    return [
        (f"{name}.{key}", before[key], value)
        for name, table in new.items()
        if isinstance(before := old.get(name), Mapping)
        for key, value in table.items()
        if key in before and before[key] != value
    ]


def _table(summary: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = summary.get(key)
    return table if isinstance(table, Mapping) else {}


def _difference(key: str, old: Any, new: Any) -> str:
    return f"{key}: {_short(old)} stored, {_short(new)} requested"


def _short(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= SHORT else text[: SHORT - 3] + "...") if isinstance(value, str) else text


def fingerprint(folder: str) -> str:
    """A short hash of a local model's files (names, sizes, modification times); empty if it is not a local path.

    It shows whether weights were replaced, without reading them.
    """
    path = Path(folder).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:12] if stats else ""


def device_name(device: torch.device) -> str:
    """A device's name: the model of a GPU, else its type."""
    if device.type != "cuda":
        return device.type
    import torch

    return torch.cuda.get_device_name(device)
