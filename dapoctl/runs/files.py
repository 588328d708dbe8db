"""Files that a crash cannot tear: JSON written whole, JSON lines one write each, and their readers."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import json
import math
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

from dapoctl.errors import StorageError

SCHEMA = 1
TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")
"""The names that `write_text` writes under: the file's own in the group"""
FORGOTTEN = 3600.0
"""Seconds after which what another process was writing is left over"""
BLOCK = 16 * 2**10
"""Bytes that are read at a time from a file's end"""


def write_json(path: Path, value: Any, mode: int = 0o666) -> None:
    """Write `value` so that a reader sees the old file or the new one, never a part.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", mode)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write `text` under a temporary name, flush it to the disk, rename it; `mode` is what the umask takes from.

    Raises:
        StorageError: see `write_json`.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            # A lone surrogate, which a name or a message may hold, becomes JSON's escape of itself.
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            name.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                name.unlink()
            raise


def sweep_temporary(folder: Path, names: str = "*.json*", older: float = 0.0) -> None:
    """Delete what `write_text` left of files that match `names` where its process was killed.

    Args:
        names: a pattern as of the shell
        older: seconds since it was written; 0 where nobody else writes such a file
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = TEMPORARY.fullmatch(entry.name)
            if found is None or not fnmatch.fnmatchcase(found[1], names):
                continue
            with contextlib.suppress(OSError):
                left = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(left.st_mode) and (not older or time.time() - left.st_mtime > older):
                    os.unlink(entry.path)  # noqa: PTH108


def sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk.

    Raises:
        OSError: that failed.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """The value in a JSON file; None when there is no such file or it is damaged."""
    try:
        with open_file(path) as file:
            return json.loads(file.read().decode())
    except (OSError, ValueError, RecursionError):
        return None


def open_file(path: Path) -> IO[bytes]:
    """Open a file to read it; a pipe or a device in its place, whose reader could wait for ever, is none.

    Raises:
        OSError: it cannot be opened, or is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return os.fdopen(descriptor, "rb")


def number_or_none(value: Any) -> float | None:
    """The number that a JSON value stands for: strict JSON has no NaN and no infinity, and holds the words that float() reads;
    None for what is no number."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def number_or_nan(value: Any) -> float:
    """`number_or_none`, with not-a-number in place of None."""
    found = number_or_none(value)
    return math.nan if found is None else found


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a JSON-lines file."""

    value: dict[str, Any] | None
    """None for a damaged line: not a JSON object"""
    place: int
    """Its first byte"""
    number: int
    """Counted from 1 where reading began"""


class JsonLines:
    """Reads a JSON-lines file, which may be growing, from where the last reading ended.

    One rule for the last line: without its line end it counts if it is a whole JSON object, and else is not yet written. No
    part of an object is an object, so nothing half written is ever taken, and nothing whole is lost in a file whose writer
    was killed or that was made by hand. Blank lines are left out.
    """

    def __init__(self, path: Path, place: int = 0) -> None:
        """`place`: the byte to begin at, the start of a line."""
        self.path = path
        self.place = place
        """After the last line that was read"""
        self.torn = False
        """Whether the file ended in a line that is not yet written, at the last reading"""

    def read(self) -> Iterator[Line]:
        """The lines from `place` on.

        Raises:
            OSError: the file cannot be read.
        """
        self.torn = False
        with open_file(self.path) as file:
            file.seek(self.place)
            for number, text in enumerate(file, 1):
                value = parse_object(text)
                if value is None and not text.endswith(b"\n"):
                    self.torn = True
                    return
                start, self.place = self.place, self.place + len(text)
                if value is not None or text.strip():
                    yield Line(value, start, number)


def parse_object(text: bytes) -> dict[str, Any] | None:
    """The JSON object that `text` is; None when it is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a JSON-lines file; damaged lines are left out, a file that cannot be read has none."""
    with contextlib.suppress(OSError):
        for line in JsonLines(path).read():
            if line.value is not None:
                yield line.value


def last_row(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The last row of a JSON-lines file that is `wanted`, by the rules of `JsonLines`, read from the end; None without one."""
    try:
        with open_file(path) as file:
            start = file.seek(0, os.SEEK_END)
            rest = b""
            while start > 0:
                size = min(start, BLOCK)
                start = file.seek(start - size)
                lines = (file.read(size) + rest).split(b"\n")
                # The first piece may begin in the block before.
                rest = lines.pop(0) if start else b""
                for line in reversed(lines):
                    value = parse_object(line)
                    if value is not None and wanted(value):
                        return value
    except OSError:
        return None
    return None


def write_lines(path: Path, header: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSON-lines file whole, its header with the schema's version first.

    Raises:
        StorageError: see `write_json`.
    """
    lines = [json.dumps({"schema": SCHEMA, **header}), *(json.dumps(row, ensure_ascii=False) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


class LineWriter:
    """Appends rows to a JSON-lines file, one write per row; there is one writer per file.

    Rows that another attempt wrote and that `keep` refuses are dropped when the writer opens.
    """

    def __init__(self, path: Path, header: dict[str, Any], keep: Any = lambda _row: True) -> None:
        """
        Raises:
            StorageError: see `write_json`; or what is there cannot be read, and is left as it is.
        """
        self.path = path
        rows = []
        # Not `read_lines`: what an unreadable file holds must not be replaced by nothing.
        with storage_errors(path), contextlib.suppress(FileNotFoundError):
            rows = [row for line in JsonLines(path).read() if (row := line.value) and "schema" not in row and keep(row)]
        write_lines(path, header, rows)
        with storage_errors(path):
            self._file: TextIO = path.open("a", encoding="utf-8", errors="backslashreplace")

    def write(self, row: dict[str, Any]) -> None:
        """Append one row.

        Raises:
            StorageError: see `write_json`.
        """
        with storage_errors(self.path):
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file; what was written is there."""
        with contextlib.suppress(OSError):
            self._file.close()


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn operating-system errors about `path` into errors that say what to do.

    Raises:
        StorageError: naming the path and the reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full_disk(path) from error
        raise StorageError(f"`{path}` cannot be written: {error.strerror or error}") from error


def full_disk(path: Path, needed: int = 0) -> StorageError:
    """The error for a disk without room, with how much is left, and how many bytes are `needed` if known."""
    folder = next((parent for parent in (path, *path.parents) if parent.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free / 2**20
    wanted = f"{needed / 2**20:.0f} MiB needed, " if needed else ""
    return StorageError(
        f"no space left to write `{path}` ({wanted}{free:.0f} MiB free); free some, or choose another --runs-dir"
    )
