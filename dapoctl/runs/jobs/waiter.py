"""The waiter: a small process that stays with the runs that wait in a store, while there are any.

Whoever queues a run and finds that it has to wait starts one, and so does a supervisor; there is one for each store, user and
machine. Supervisors look at the queue of their own store when their run ends. Nobody tells this store when another store's run
or another program frees a device: the waiter looks. It decides nothing itself: see `scheduler`.

`python -m dapoctl.runs.jobs.waiter STORE --lock=FD` returns when it is in the background, in a session of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from dapoctl.errors import DapoctlError
from dapoctl.runs.jobs.queue import changing
from dapoctl.runs.jobs.scheduler import may_start, ready, schedule
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.processes import MARK, SUPERVISOR, run_starter
from dapoctl.runs.tickets import FOLDER

LOOK = 5.0
"""Seconds between two looks"""
PATIENCE = 300.0
"""Seconds between two looks at most, where the store cannot be used"""
READY_WITHIN = 60.0


def start_or_wait(root: Path) -> list[str]:
    """Start every run whose turn it is, and have a process stay with those that wait; the ids of the started ones.

    Raises:
        StorageError: the store cannot be written.
        WaiterError: no process could be started to wait.
        UserError: DAPOCTL_SLOTS is not a count.
    """
    started = schedule(root)
    ensure_waiter(root)
    return started


def ensure_waiter(root: Path) -> None:
    """Start the waiter, if a run waits that can start here in time and there is none.

    Raises:
        StorageError: the store cannot be written.
        WaiterError: it could not be started.
    """
    if not may_start(root):
        return
    lock = try_lock(_lock_of(root))
    if lock is None:
        return
    try:
        failure = run_starter(
            [sys.executable, "-P", "-m", "dapoctl.runs.jobs.waiter", str(root.resolve()), f"--lock={lock}"],
            READY_WITHIN,
            # It belongs to no attempt, though a process of one may start it.
            env={**os.environ, MARK: SUPERVISOR},
            pass_fds=[lock],
        )
    finally:
        release(lock)
    if failure:
        raise WaiterError(
            f"runs wait in `{root}`, but no process could be started to wait with them ({failure}): they start when "
            "another run of this store ends, or with `dapoctl queue release`"
        )


class WaiterError(DapoctlError):
    """The waiter could not be started."""


def waiter(root: Path) -> int | None:
    """The PID of the process that waits with this store's runs; None without one."""
    path = _lock_of(root)
    if not is_locked(path):
        return None
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _lock_of(root: Path) -> Path:
    # Other users and other machines start their own runs in a store that they share.
    return root / FOLDER / f"waiter-{os.uname().nodename}-{os.geteuid()}"


def wait(root: Path, lock: int) -> None:
    """Look at the queue until no run waits any more.

    Args:
        lock: the descriptor of the waiter's lock, which is given back
    """
    pause = LOOK
    while True:
        try:
            if _is_over(root, lock):
                return
            if ready(root):
                schedule(root, wait=False)
            pause = LOOK
        except (DapoctlError, OSError):
            # A full disk, a store that is not mounted: `queue list` names it. What waits still waits.
            pause = min(2 * pause, PATIENCE)
        time.sleep(pause)


def _is_over(root: Path, lock: int) -> bool:
    """Whether the waiter can go; its lock is then given back."""
    if not _is_mine(root, lock):
        release(lock)
        return True
    if may_start(root):
        return False
    with changing(root, make=False):
        # Who queues a run after this finds no waiter, and starts one.
        if may_start(root):
            return False
        release(lock)
        return True


def _is_mine(root: Path, lock: int) -> bool:
    """Whether the store is still there, and the lock the one that others look at."""
    try:
        found = _lock_of(root).stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(lock))


def _keep_driver_loaded() -> None:
    """Open the GPUs' driver once: opening and closing it at each look is most of the cost of one."""
    import pynvml

    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()


def main() -> None:
    """Go to the background and wait."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("--lock", type=int, required=True)
    options = parser.parse_args()
    if os.fork():
        return
    os.setsid()
    # Whoever started this waits for the end of its output.
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 (a stream for all three)
        for number in (0, 1, 2):
            os.dup2(nothing.fileno(), number)
    os.chdir("/")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.ftruncate(options.lock, 0)
    os.pwrite(options.lock, str(os.getpid()).encode(), 0)
    _keep_driver_loaded()
    wait(options.store, options.lock)


if __name__ == "__main__":
    main()
