"""The manifest of a folder: size and SHA-256 of every file in it, written last, so that what is there can be proven whole.

The manifest proves itself too: it ends with the SHA-256 of what is before, and is read only in the exact form that it was
written in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dapoctl.runs.files import SCHEMA, sync, write_text

MANIFEST = "manifest.json"
THREADS = 2
"""Files that are read at once: hashing leaves Python's lock to others"""
AHEAD = 128 * 2**20
"""Bytes by which writing may be ahead of hashing, kept in memory"""
new_digest = hashlib.sha256


class ManifestError(Exception):
    """A manifest that is not what was written."""


class HashedFile:
    """A file that is written front to back, and hashed in a thread that may be some way behind."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        # One thread: in order.
        self._thread = ThreadPoolExecutor(1, "hashing")
        self._digest = new_digest()
        self._behind: deque[tuple[Future[None], int]] = deque()
        self._size = 0

    def write(self, data: Any) -> int:
        """Write bytes, all of them."""
        view = memoryview(data).cast("B")
        # A copy: what `data` is a view of may be gone after this call.
        self._behind.append((self._thread.submit(self._digest.update, bytes(view)), len(view)))
        while len(self._behind) > 1 and sum(size for _, size in self._behind) > AHEAD:
            self._behind.popleft()[0].result()
        written = 0
        while written < len(view):
            written += self._file.write(view[written:]) or 0
        self._size += len(view)
        return len(view)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()
        self._thread.shutdown(wait=False)

    def measured(self) -> tuple[int, str]:
        """(bytes, SHA-256), once all is hashed."""
        self._thread.shutdown()
        return self._size, self._digest.hexdigest()


class Sealing(contextlib.ExitStack[None]):
    """Writes a folder's manifest; what can be hashed while something is written or flushed costs no time of its own."""

    def __init__(self, folder: Path, step: int) -> None:
        """`step`: what the folder holds; a copy under another step's name is told by it."""
        self.folder = folder
        self.step = step
        super().__init__()
        self._threads = ThreadPoolExecutor(THREADS, "sealing")
        self.callback(self._threads.shutdown, cancel_futures=True)
        self._files: dict[str, HashedFile] = {}

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[HashedFile]:
        """A large file of the folder, to write."""
        file = self._files[name] = HashedFile(self.folder / name)
        try:
            yield file
        finally:
            file.close()

    def finish(self) -> None:
        """Flush the files to the disk, and then the manifest.

        Raises:
            OSError: a file cannot be read or flushed.
            StorageError: the manifest cannot be written.
        """
        found = {path.relative_to(self.folder).as_posix(): path for path in _files(self.folder)}
        # They were written elsewhere; read while the disk is busy.
        others = {name: self._threads.submit(_measure, found[name]) for name in found.keys() - self._files.keys()}
        for path in sorted(self.folder.rglob("*")):
            sync(path)
        measured = {name: file.measured() for name, file in self._files.items()}
        measured |= {name: future.result() for name, future in others.items()}
        files = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in measured.items()}
        write_text(self.folder / MANIFEST, _text({"schema": SCHEMA, "step": self.step, "files": files}))
        sync(self.folder)


def is_sealed(folder: Path) -> bool:
    """Whether the folder has a manifest."""
    return (folder / MANIFEST).is_file()


def sealed_step(folder: Path) -> int | None:
    """The step that a folder's manifest is about; None without one that can be read."""
    try:
        return _read(folder)[0]
    except ManifestError:
        return None


def missing(folder: Path, step: int) -> str:
    """What is wrong at a glance: another step's, or a file that is absent or has another size; empty if nothing is."""
    try:
        sealed, files = _read(folder)
    except ManifestError as error:
        return str(error)
    if sealed != step:
        return f"it is a copy of the checkpoint of step {sealed}"
    return next((problem for name, entry in files.items() if (problem := _absent(folder / name, name, entry))), "")


def damage(folder: Path, step: int, within: str = "") -> str:
    """What differs from the manifest, contents included; empty if nothing does.

    Args:
        folder: a sealed folder
        step: what it is said to hold
        within: the beginning of the names of the files whose contents are read
    """
    if problem := missing(folder, step):
        return problem
    _, listed = _read(folder)
    files = {name: entry for name, entry in listed.items() if name.startswith(within)}
    with ThreadPoolExecutor(THREADS, "verifying") as threads:
        problems = threads.map(lambda item: _changed(folder / item[0], *item), files.items())
        return next((problem for problem in problems if problem), "")


def _absent(path: Path, name: str, entry: Mapping[str, Any]) -> str:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return "" if size == entry["bytes"] else f"{name} has {size} bytes and had {entry['bytes']} when it was written"


def _changed(path: Path, name: str, entry: Mapping[str, Any]) -> str:
    try:
        _, digest = _measure(path)
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return "" if digest == entry["sha256"] else f"{name} has other contents than were written"


def _measure(path: Path) -> tuple[int, str]:
    """(bytes, SHA-256)"""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _text(values: Mapping[str, Any]) -> str:
    body = json.dumps(values, sort_keys=True)
    return json.dumps({**json.loads(body), "self": hashlib.sha256(body.encode()).hexdigest()}, indent=1) + "\n"


def _read(folder: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """(step, bytes and SHA-256 by file name)

    Raises:
        ManifestError: it is damaged.
    """
    damaged = ManifestError(f"{MANIFEST} is damaged")
    try:
        text = (folder / MANIFEST).read_bytes().decode()
        values = json.loads(text)
        values.pop("self")
        if _text(values) != text:
            raise damaged
        step, files = int(values["step"]), dict(values["files"])
    except OSError as error:
        raise ManifestError(f"{MANIFEST} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged from error
    return step, files
