"""Deleting runs and checkpoints: never what is being worked on, and what is half deleted is not a run any more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dapoctl.errors import UserError
from dapoctl.runs.files import storage_errors
from dapoctl.runs.state import ALIVE, has_writer
from dapoctl.runs.summary import SPEC, read_run

TRASH = ".deleted-"


def check_removable(directory: Path) -> None:
    """Refuse a run that is being worked on or waits, and a folder that is not a run.

    Raises:
        UserError: saying what to do first.
    """
    summary = read_run(directory)
    if summary.problem and not (directory / SPEC).exists():
        raise UserError(f"`{directory}` is not a run ({summary.problem}); delete it with rm if you mean it")
    if summary.state == "queued":
        raise UserError(f"run `{directory.name}` waits in the queue; `dapoctl queue drop {directory.name}` first")
    if summary.state in ALIVE or has_writer(directory):
        raise UserError(f"run `{directory.name}` is being worked on; `dapoctl runs stop {directory.name}` first")


def remove_run(directory: Path) -> None:
    """Delete a run.

    Raises:
        StorageError: it cannot be deleted.
    """
    root = directory.parent
    for left in [path for path in root.iterdir() if path.name.startswith(TRASH)]:
        shutil.rmtree(left, ignore_errors=True)
    with storage_errors(directory):
        trash = directory.rename(root / f"{TRASH}{directory.name}")
        shutil.rmtree(trash)


def remove_checkpoints(directory: Path) -> None:
    """Delete a run's checkpoints.

    Raises:
        StorageError: they cannot be deleted.
    """
    folder = directory / "checkpoints"
    if folder.is_dir():
        with storage_errors(folder):
            trash = folder.rename(directory / f"{TRASH}checkpoints")
            shutil.rmtree(trash)


def size_of(path: Path) -> int:
    """Bytes of all files below `path`."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
            except OSError:
                continue
    return total
