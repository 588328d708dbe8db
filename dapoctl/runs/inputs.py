"""Which model and which data a run works on: a model's revision, the sizes and hashes of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapoctl.models import kind_of, locate

if TYPE_CHECKING:
    from dapoctl.components.pipeline import Pipeline

HASHED = 16 * 2**20
"""Bytes: a model's larger files, its weights, are known by size and time of change alone"""


def describe_model(path: str) -> dict[str, Any]:
    """What the model at `path` is now: `revision`, the hub's commit ("" if nothing of it is in the cache), or its `files`."""
    if kind_of(path) == "hub":
        return {"revision": revision(path)}
    source = Path(locate(path)).expanduser()
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    return {"files": {file.name: _model_file(file) for file in files if file.is_file()}}


def revision(name: str) -> str:
    """The commit of a hub model that the local cache has for its main branch, which is what is loaded; "" without one."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent.name if isinstance(found, str) else ""


def _model_file(file: Path) -> dict[str, Any]:
    status = file.stat()
    if status.st_size > HASHED:
        return {"bytes": status.st_size, "modified": status.st_mtime}
    return {"bytes": status.st_size, "sha256": sha256(file)}


def describe_files(paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file that is there, by its absolute path."""
    found = {}
    for path in (Path(path).expanduser().resolve() for path in paths):
        if path.is_file():
            found[str(path)] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    return found


def sha256(file: Path) -> str:
    """SHA-256 of a file, without holding it in memory."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def data_files(pipeline: Pipeline) -> list[str]:
    """Paths of the files that the run's problems come from."""
    return [path for name in pipeline.providers("load_problems") for path in pipeline.components[name].data_files()]


def changed_inputs(recorded: object, now: dict[str, Any]) -> list[dict[str, str]]:
    """Data files and parts of the model that are here and not what a run's record says: what, from, to."""
    old, new = _digests(recorded), _digests(now)
    return [
        {"what": name, "from": old[name], "to": new[name]}
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name]
    ]


def _digests(inputs: object) -> dict[str, str]:
    """What tells one version from another, by file; a revision that was not known then says nothing."""
    if not isinstance(inputs, dict):
        return {}
    model, data = dict(inputs.get("model") or {}), dict(inputs.get("data") or {})
    found = {f"model: {name}": _digest(about) for name, about in dict(model.get("files") or {}).items()}
    found |= {name: _digest(about) for name, about in data.items()}
    return found | ({"model's revision": str(model["revision"])} if model.get("revision") else {})


def _digest(about: dict[str, Any]) -> str:
    return str(about.get("sha256") or f"{about.get('bytes')} bytes, changed at {about.get('modified')}")
