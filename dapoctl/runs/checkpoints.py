"""Which checkpoints a run has, and which of them are whole; nothing here loads one.

A checkpoint is `step_<n>/`. It is written as `.step_<n>.partial`, sealed with a manifest and renamed; a sealed one that its
writer did not come to rename counts like any other once nobody writes. Whatever else lies in the folder is left alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from dapoctl.errors import StorageError, UserError
from dapoctl.runs import manifest
from dapoctl.runs.attempts import WRITER
from dapoctl.runs.files import storage_errors, sync, write_text
from dapoctl.runs.locks import is_locked, release, try_lock

FOLDER, LATEST, STATE = "checkpoints", "latest", "state.pt"
_NAME = re.compile(r"step_(0|[1-9][0-9]*)")
_HIDDEN = re.compile(r"\.step_(0|[1-9][0-9]*)\.(partial|old)")


def latest(directory: Path) -> Path | None:
    """The newest whole checkpoint; None when there is none.

    Raises:
        StorageError: see `checkpoints`.
    """
    found = checkpoints(directory)
    return found[max(found)] if found else None


def checkpoints(directory: Path) -> dict[int, Path]:
    """Every whole checkpoint by its step: its files are there with their sizes. Their contents are not read.

    Raises:
        StorageError: the folder cannot be read.
    """
    found: dict[int, Path] = {}
    for path in newest_first(directory):
        if not problem_of(path):
            found.setdefault(step_of(path), path)
    return dict(sorted(found.items()))


def newest_first(directory: Path) -> Iterator[Path]:
    """Every checkpoint, whole or not, from the last step to the first.

    Raises:
        StorageError: the folder cannot be read.
    """
    root = directory / FOLDER
    names = _names(root)
    written = {int(match[1]): root / name for name in names if (match := _NAME.fullmatch(name))}
    # As long as somebody writes, what is not renamed yet is his.
    left = {} if is_locked(directory / WRITER) else {step: root / partial_name(step) for step in _left(names)}
    for step in sorted({*written, *left}, reverse=True):
        if step in written and written[step].is_dir():
            yield written[step]
        if step in left and manifest.is_sealed(left[step]):
            yield left[step]


def problem_of(checkpoint: Path) -> str:
    """What a look at the sizes of a checkpoint's files finds wrong with it; empty if nothing."""
    if manifest.is_sealed(checkpoint):
        return manifest.missing(checkpoint, step_of(checkpoint))
    try:
        return "" if (checkpoint / STATE).stat().st_size else f"{STATE} is empty"
    except OSError as error:
        return f"{STATE} is missing" if isinstance(error, FileNotFoundError) else f"{STATE}: {error.strerror}"


def damage_of(checkpoint: Path, within: str = "") -> str:
    """What differs from when the checkpoint was written; empty if nothing does, or if it was written without a manifest.

    Args:
        checkpoint: its folder
        within: read only the contents of files whose names begin so
    """
    if manifest.is_sealed(checkpoint):
        return manifest.damage(checkpoint, step_of(checkpoint), within)
    return problem_of(checkpoint)


def step_of(path: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    match = _NAME.fullmatch(path.name) or _HIDDEN.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def partial_name(step: int) -> str:
    """The folder that a checkpoint is written to before it is renamed."""
    return f".step_{step}.partial"


def put_in_place(scratch: Path) -> Path:
    """Give a sealed checkpoint its name, in place of one of the same step; at every moment one of them is whole.

    Raises:
        OSError: a folder cannot be renamed; what was there is there.
    """
    step = step_of(scratch)
    final, old = scratch.with_name(f"step_{step}"), scratch.with_name(f".step_{step}.old")
    replaced = final.exists()
    if replaced:
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    try:
        scratch.rename(final)
    except OSError:
        if replaced:
            old.rename(final)
        raise
    sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)
    return final


def adopt(path: Path) -> Path:
    """Make `path` the run's last checkpoint, under its name and in `latest`; the caller is the run's writer.

    Raises:
        StorageError: the folder cannot be written.
    """
    if _NAME.fullmatch(path.name) is None:
        with storage_errors(path):
            path = put_in_place(path)
    point_at(path)
    return path


def point_at(checkpoint: Path) -> None:
    """Write the name of the last checkpoint to `latest`, which is for people alone."""
    pointer = checkpoint.parent / LATEST
    with contextlib.suppress(OSError, StorageError):
        if not pointer.is_file() or pointer.read_text(encoding="utf-8") != f"{checkpoint.name}\n":
            write_text(pointer, f"{checkpoint.name}\n")


def discard(directory: Path, keep: set[int], before: int) -> None:
    """Delete checkpoints of steps up to `before` other than those of `keep`, and what earlier attempts left unfinished.

    What cannot be deleted stays, and is tried again the next time; a copy under another step's name is its maker's.

    Raises:
        StorageError: the folder cannot be read.
    """
    root = directory / FOLDER
    for name in _names(root):
        match = _NAME.fullmatch(name)
        if match:
            step = int(match[1])
            if step in keep or step > before or manifest.sealed_step(root / name) not in (step, None):
                continue
            # Renamed first: what is half deleted is no checkpoint any more.
            old = root / f".{name}.old"
            shutil.rmtree(old, ignore_errors=True)
            with contextlib.suppress(OSError):
                (root / name).rename(old)
            shutil.rmtree(old, ignore_errors=True)
        elif _HIDDEN.fullmatch(name):
            shutil.rmtree(root / name, ignore_errors=True)
        elif name.startswith(f".{LATEST}."):
            with contextlib.suppress(OSError):
                (root / name).unlink()


def rewind(directory: Path, step: int) -> list[Path]:
    """Go back to the checkpoint of `step`: later ones are set aside under other names, which are returned.

    Args:
        directory: a run that nobody works on
        step: 0 for the beginning

    Raises:
        UserError: it has no such checkpoint, or is being worked on.
        StorageError: that checkpoint is damaged, or the folder cannot be written.
    """
    # Before the lock is taken: what is not renamed yet counts only while nobody writes.
    there = [*newest_first(directory)]
    _check_there(directory, step, there)
    writer = try_lock(directory / WRITER)
    if writer is None:
        raise UserError(f"run `{directory.name}` is being worked on by another process")
    aside = []
    try:
        for path in there:
            if step_of(path) > step:
                with storage_errors(path):
                    aside.append(path.rename(_free(path.with_name(f"step_{step_of(path)}.set-aside"))))
    finally:
        release(writer)
    return aside


def _check_there(directory: Path, step: int, there: list[Path]) -> None:
    """Refuse a step without a whole checkpoint; 0 needs none."""
    chosen = [path for path in there if step_of(path) == step]
    if step and not chosen:
        known = ", ".join(str(each) for each in sorted({step_of(path) for path in there})) or "none"
        raise UserError(
            f"--step {step}: run `{directory.name}` has no such checkpoint; it has those of the steps {known}"
        )
    problems = [damage_of(path) for path in chosen]
    if problems and all(problems):
        raise StorageError(f"--step {step}: checkpoint `{chosen[0]}` is damaged: {problems[0]}")


def _left(names: list[str]) -> list[int]:
    return [int(match[1]) for name in names if (match := _HIDDEN.fullmatch(name)) and match[2] == "partial"]


def _free(path: Path) -> Path:
    tries = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in range(1, 10**6))
    return next(each for each in tries if not each.exists())


def _names(root: Path) -> list[str]:
    try:
        return os.listdir(root)  # noqa: PTH208
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"`{root}` cannot be read: {error.strerror}") from error
