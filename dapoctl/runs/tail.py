"""The end of a log, and what is added to it, at a cost that does not depend on its size."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

BLOCK = 64 * 2**10
MOST = 8 * 2**20
"""Bytes of a log that are looked at for its last lines, and read at once while following it"""
POLL = 0.2


def last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """(the last `count` lines, the place in bytes after them); the line that is being written is not one of them yet.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        end = start = file.seek(0, os.SEEK_END)
        blocks: list[bytes] = []
        seen = 0
        while start > 0 and seen <= count and end - start < MOST:
            size = min(BLOCK, start)
            start = file.seek(start - size)
            blocks.insert(0, file.read(size))
            seen += blocks[0].count(b"\n")
    text = b"".join(blocks)
    whole, newline, rest = text.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    if start > 0 and len(lines) > 1:
        lines = lines[1:]
    return [decode(line) for line in lines[-count:]] if count else [], end - len(rest)


def follow(path: Path, place: int, going: Callable[[], bool]) -> Iterator[str]:
    """Lines that are added to the file after `place`, as they come, while `going()` and until what was there then is read.

    A file that shrinks or is replaced is read from its beginning.
    """
    inode, rest = _inode(path), b""
    while True:
        last = not going()
        if _size(path) < place or _inode(path) != inode:
            place, rest, inode = 0, b"", _inode(path)
        try:
            with path.open("rb") as file:
                file.seek(place)
                while data := file.read(BLOCK):
                    place += len(data)
                    *lines, rest = (rest + data).split(b"\n")
                    yield from (decode(line) for line in lines)
                    if len(rest) > MOST:
                        yield decode(rest)
                        rest = b""
        except OSError:
            pass
        if last:
            if rest:
                yield decode(rest)
            return
        time.sleep(POLL)


def decode(line: bytes) -> str:
    """A line as text; of one that rewrites itself with carriage returns, what is left on the screen."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", errors="replace")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
