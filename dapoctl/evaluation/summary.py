"""An evaluation's `summary.json`: what was asked of which model, and how two of them differ."""

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
"""Who made an evaluation: a run while it trained, or the command"""
UNKNOWN = "unknown"
SHORT = 60
"""Characters of a value that a message shows"""


def summary_of(
    label: str, step: int, protocol: Protocol, data: Mapping[str, Any], model: str, weights: str = ""
) -> dict[str, Any]:
    """A summary of an evaluation that has not begun.

    Args:
        label: the set's name
        step: of the checkpoint; 0 for a model as it came
        protocol: how it is asked
        data: what `Source.describe` says of the problems
        model: path or hub name
        weights: which weights, where the model's path does not say it
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
    """What `wanted` asks otherwise than `stored`, such as `k: 32 there, 4 asked for`; empty when they are the same."""
    found = []
    old, new = _table(stored, "protocol"), _table(wanted, "protocol")
    for key in new:
        if key != "name" and old.get(key, UNKNOWN) != new[key]:
            found.append(_difference(key.replace("_", "-"), old.get(key, UNKNOWN), new[key]))
    old, new = _table(stored, "data"), _table(wanted, "data")
    if old.get("sha256", UNKNOWN) != new["sha256"]:
        for key in ("problems", "source", "split"):
            if old.get(key, UNKNOWN) != new[key]:
                found.append(_difference(key, old.get(key, UNKNOWN), new[key]))
        if not any(key in text for text in found for key in ("problems:", "source:")):
            found.append("the problems themselves have changed")
    for key in ("model", "weights"):
        if stored.get(key, UNKNOWN) != wanted[key]:
            found.append(_difference(key, stored.get(key, UNKNOWN), wanted[key]))
    return found


def _table(summary: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = summary.get(key)
    return found if isinstance(found, Mapping) else {}


def _difference(key: str, old: Any, new: Any) -> str:
    return f"{key}: {_short(old)} there, {_short(new)} asked for"


def _short(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= SHORT else text[: SHORT - 3] + "...") if isinstance(value, str) else text


def fingerprint(folder: str) -> str:
    """A short hash of a local model's files (names, sizes, times of change); empty for what is no local path.

    It tells weights that were replaced since, without reading them.
    """
    path = Path(folder).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:12] if stats else ""


def device_name(device: torch.device) -> str:
    """What a device is called: a GPU's model, else `cpu`."""
    if device.type != "cuda":
        return device.type
    import torch

    return torch.cuda.get_device_name(device)
