"""Deleting runs and checkpoints: never what is being worked on, and what is half deleted is not a run any more."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from dapoctl.errors import StorageError, UserError
from dapoctl.runs.attempts import LOCK, WRITER
from dapoctl.runs.files import storage_errors
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.outlived import outlived, outlived_words
from dapoctl.runs.state import ALIVE, has_writer
from dapoctl.runs.summary import EVALS, SPEC, read_run
from dapoctl.runs.tickets import ticket_file

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
        raise _busy(directory)
    if any(is_locked(path) for path in (directory / EVALS).glob(f"*/*/{LOCK}")):
        raise UserError(f"run `{directory.name}` is being evaluated; wait for the end of that, or stop it")
    if left := outlived(directory):
        raise UserError(f"run `{directory.name}`: {outlived_words(left)}; `dapoctl runs stop {directory.name}` first")


def _busy(directory: Path) -> UserError:
    return UserError(f"run `{directory.name}` is being worked on; `dapoctl runs stop {directory.name}` first")


@contextlib.contextmanager
def _claimed(directory: Path) -> Iterator[None]:
    """Look once more, since a question may have stood for long, and let nobody begin to work on the run in the block.

    Raises:
        UserError: somebody works on it by now, or it waits for its turn.
    """
    check_removable(directory)
    with contextlib.ExitStack() as held:
        for name in (LOCK, WRITER):
            try:
                descriptor = try_lock(directory / name)
            except StorageError:
                if os.path.lexists(directory / name):
                    raise
                # On a full disk it cannot be made, and so is nobody's. Deleting must be possible there of all places.
                continue
            if descriptor is None:
                raise _busy(directory)
            held.callback(release, descriptor)
        yield


def remove_run(directory: Path) -> None:
    """Delete a run; of a link to one, the link.

    Raises:
        UserError: see `check_removable`.
        StorageError: it cannot be deleted.
    """
    # `.` has no name to rename.
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 (a link is to be kept as one)
    sweep_trash(directory.parent)
    with _claimed(directory), storage_errors(directory):
        # The locks go with the folder: who opened them before finds no run when it has them.
        trash = _put_aside(directory, directory.parent)
        ticket_file(directory.parent, directory.name).unlink(missing_ok=True)
    with storage_errors(trash):
        _discard(trash)


def remove_checkpoints(directory: Path) -> None:
    """Delete a run's checkpoints; of a link to them, the link.

    Raises:
        UserError: see `check_removable`.
        StorageError: they cannot be deleted.
    """
    folder = directory / "checkpoints"
    sweep_trash(directory)
    if not folder.is_dir() and not folder.is_symlink():
        return
    with _claimed(directory), storage_errors(folder):
        trash = _put_aside(folder, directory)
    with storage_errors(trash):
        _discard(trash)


def sweep_trash(folder: Path) -> None:
    """Delete what interrupted removals left in `folder`, as far as that is possible."""
    with contextlib.suppress(OSError):
        for left in [path for path in folder.iterdir() if path.name.startswith(TRASH)]:
            with contextlib.suppress(OSError):
                _discard(left)


def _put_aside(path: Path, folder: Path) -> Path:
    """Give `path` a hidden name in `folder` that nothing has; the new path."""
    trash = folder / f"{TRASH}{path.name}"
    if os.path.lexists(trash):
        trash = folder / f"{TRASH}{path.name}-{secrets.token_hex(4)}"
    return path.rename(trash)


def _discard(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        # Another process sweeps, too.
        shutil.rmtree(path, ignore_errors=True)


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
