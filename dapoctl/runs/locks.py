"""Locks that the kernel releases when their holder dies: proof of life that no recycled PID can forge.

A lock belongs to an open file description: a child process that inherits the descriptor holds it too, and it is free when
the last of them is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dapoctl.errors import StorageError
from dapoctl.runs.files import storage_errors

GLANCE = 0.002
"""Seconds between two tries while nobody holds a lock but someone looks at it"""
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What file systems without locks answer: Lustre without `-o flock`, some NFS and FUSE mounts"""
OPENED = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Whoever may write to a folder can put a link or a pipe where a lock is looked for."""
PRIVATE, SHARED, BY_UMASK = 0o600, 0o666, None
"""Modes of locks"""
ELSEWHERE = "keep runs on a local disk with --runs-dir or DAPOCTL_RUNS"


def try_lock(path: Path, shared: bool = False, instead: str = ELSEWHERE) -> int | None:
    """Take the lock on `path`, which is made if it is not there; its descriptor, or None when somebody holds it.

    Whoever can open a file can lock it, and so keep its owner waiting: only the owner can open it.

    Args:
        shared: every user of the machine may open it and take it
        instead: what to do where there are no locks

    Raises:
        StorageError: the file cannot be made or opened, is no plain file, or the file system has no locks.
    """
    descriptor = _open(path, SHARED if shared else PRIVATE)
    if not shared:
        # It may have been made by a version that let everybody open it; another user's cannot be changed.
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, PRIVATE)
    try:
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
    except OSError as error:
        os.close(descriptor)
        raise _unlockable(path, error, instead) from error


def check_locks(folder: Path) -> None:
    """Try whether files below `folder`, which need not be there, can be locked; nothing is left behind.

    Raises:
        StorageError: they cannot, or nothing can be written there.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.isdir(path))  # noqa: PTH112
    with storage_errors(folder), tempfile.TemporaryFile(dir=there) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _unlockable(folder, error, ELSEWHERE) from error


def _unlockable(path: Path, error: OSError, instead: str) -> StorageError:
    reason = error.strerror or error
    if error.errno in NO_LOCKS:
        return StorageError(f"`{path}` cannot be locked: its file system has no locks ({reason}); {instead}")
    return StorageError(f"`{path}` cannot be locked: {reason}")


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on `path`. Looking never keeps anyone from taking it. Where the file system has no locks
    nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | OPENED)
    except PermissionError:
        return _is_listed(path)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and _held(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _is_listed(path: Path) -> bool:
    """Whether the kernel lists a lock on another user's file, which cannot be opened. Linux only."""
    try:
        inode = path.lstat().st_ino
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return False
    # `1: FLOCK ADVISORY WRITE 1234 fe:00:4047106 0 EOF`; the device is not always the one that stat tells.
    return any(row[1:2] == ["FLOCK"] and row[5].rpartition(":")[2] == str(inode) for row in rows)


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
        StorageError: see `try_lock`.
    """
    descriptor = _open(path, BY_UMASK)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise _unlockable(path, error, ELSEWHERE) from error
        yield
    finally:
        os.close(descriptor)


def release(*descriptors: int) -> None:
    """Give locks back, as far as this process holds them."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _open(path: Path, mode: int | None) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_or_make(path, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(_not_a_lock(path, "a link", path.lstat().st_uid)) from error
        raise StorageError(f"`{path}` cannot be locked: {error.strerror or error}") from error
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    what = "a file that has other names, too" if stat.S_ISREG(found.st_mode) else "no file"
    raise StorageError(_not_a_lock(path, what, found.st_uid))


def _open_or_make(path: Path, mode: int | None) -> int:
    while True:
        with contextlib.suppress(FileNotFoundError):
            # Without O_CREAT first: some systems refuse it for another user's file in a folder that all may write to.
            return os.open(path, os.O_RDWR | OPENED)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPENED, 0o666)
            break
    if mode is not None:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, mode)
    return descriptor


def _not_a_lock(path: Path, what: str, owner: int) -> str:
    return f"`{path}` is {what}, where a lock should be: someone put it there (user {owner}); remove it"
