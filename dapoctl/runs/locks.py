"""Locks that the kernel releases when their holder dies: proof of life that no recycled PID can forge.

A lock belongs to an open file description: a child process that inherits the descriptor holds it too, and it is free when
the last of them is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from dapoctl.errors import StorageError

GLANCE = 0.002
"""Seconds between two tries while nobody holds a lock but someone looks at it"""


def try_lock(path: Path) -> int | None:
    """Take the lock on `path`, which is made if it is not there; its descriptor, or None when somebody holds it.

    Raises:
        StorageError: the file cannot be made or opened.
    """
    descriptor = _open(path)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _held(descriptor):
                os.close(descriptor)
                return None
            time.sleep(GLANCE)
        else:
            return descriptor


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on `path`. Looking never keeps anyone from taking it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _held(descriptor)
    finally:
        os.close(descriptor)


def _held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on `path` in the block; wait for it as long as it takes.

    Raises:
        StorageError: the file cannot be made or opened.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def release(*descriptors: int) -> None:
    """Give locks back, as far as this process holds them."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            # Without O_CREAT first: some systems refuse it for another user's file in a folder that all may write to.
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o666)
    except OSError as error:
        raise StorageError(f"`{path}` cannot be locked: {error.strerror or error}") from error
    return descriptor
