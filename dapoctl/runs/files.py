"""Files that a crash cannot tear: JSON written whole, JSON lines one write each, readers that forgive the last line."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from dapoctl.errors import StorageError

SCHEMA = 1
BLOCK = 16 * 2**10
"""Bytes that are read at a time from a file's end"""


def write_json(path: Path, value: Any) -> None:
    """Write `value` so that a reader sees the old file or the new one, never a part.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` under a temporary name, flush it to the disk, rename it.

    Raises:
        StorageError: see `write_json`.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)  # noqa: PTH101
            os.replace(name, path)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise


def read_json(path: Path) -> Any:
    """The value in a JSON file; None when there is no such file or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


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


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a JSON-lines file; a line without its end is not yet written, a damaged one is left out."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


def last_row(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The last whole row of a JSON-lines file that is `wanted`, read from the file's end; None without one."""
    try:
        with path.open("rb") as file:
            start = file.seek(0, os.SEEK_END)
            rest = b""
            while start > 0:
                size = min(start, BLOCK)
                start = file.seek(start - size)
                lines = (file.read(size) + rest).split(b"\n")
                # The first piece may begin in the block before; the last is not yet written, or empty.
                rest = lines.pop(0) if start else b""
                for line in reversed(lines[:-1]):
                    with contextlib.suppress(ValueError):
                        value = json.loads(line)
                        if isinstance(value, dict) and wanted(value):
                            return value
                rest += b"\n" + lines[-1] if lines else b""
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
        self.path = path
        rows = [row for row in read_lines(path) if "schema" not in row and keep(row)]
        write_lines(path, header, rows)
        with storage_errors(path):
            self._file: TextIO = path.open("a", encoding="utf-8")

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
    """The error for a disk without room, with how much is left, and how many bytes are `needed` where that is known."""
    folder = next((parent for parent in (path, *path.parents) if parent.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free / 2**20
    wanted = f"{needed / 2**20:.0f} MiB needed, " if needed else ""
    return StorageError(
        f"no space left to write `{path}` ({wanted}{free:.0f} MiB free); free some, or choose another --runs-dir"
    )
