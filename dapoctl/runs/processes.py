"""Processes by what cannot be mistaken: a PID with its start, and the mark that a run's processes inherit."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import psutil

MARK = "DAPOCTL_ATTEMPT"
"""The environment variable that every process of an attempt has; its value is known to that attempt alone"""
SUPERVISOR = "supervisor"
"""The mark of supervisors, which belong to no attempt: whoever starts one may be a process of another"""
MODULE = ("-P", "-m")
"""How Python runs a module for dapoctl: nothing is imported from the folder that the user is in"""
POLL = 0.05
UNKILLABLE = 30.0
"""Seconds after which a process that was killed is taken for one that waits for a device and cannot die"""


@dataclass(frozen=True)
class Identity:
    """A process that cannot be confused with a later one of the same PID."""

    host: str
    boot_id: str
    pid: int
    create_time: float
    """Seconds since the epoch"""
    ticks: int = 0
    """The kernel's own start time, in clock ticks since the boot; 0 where the system has none"""

    @classmethod
    def of(cls, pid: int) -> Self:
        """A process that runs now.

        Raises:
            psutil.NoSuchProcess: none has that PID.
        """
        import psutil

        return cls(socket.gethostname(), boot_id(), pid, psutil.Process(pid).create_time(), _ticks(pid))

    @classmethod
    def read(cls, values: Any) -> Self | None:
        """From a `proc.json`; None when that is none."""
        try:
            return cls(
                str(values["host"]),
                str(values["boot_id"]),
                int(values["pid"]),
                float(values["create_time"]),
                int(values.get("ticks", 0)),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def as_dict(self) -> dict[str, Any]:
        """As `proc.json` has it."""
        return asdict(self)

    def here(self) -> bool:
        """Whether it was started on this machine since its last boot."""
        return self.boot_id == boot_id() and self.host == socket.gethostname()

    def find(self) -> psutil.Process | None:
        """The process, if it still runs here."""
        import psutil

        if not self.here():
            return None
        try:
            found = psutil.Process(self.pid)
            alive = found.status() != psutil.STATUS_ZOMBIE
            return found if alive and self._is(found) else None
        except psutil.Error:
            return None

    def _is(self, process: psutil.Process) -> bool:
        if self.ticks:
            return _ticks(process.pid) == self.ticks
        return bool(abs(process.create_time() - self.create_time) < 1.0)


@cache
def boot_id() -> str:
    """An identifier of this boot of this machine; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _ticks(pid: int) -> int:
    try:
        # The name in parentheses may hold anything; the start time is the 20th field after it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def family(mark: str, roots: Iterable[Identity] = ()) -> list[psutil.Process]:
    """Every process of an attempt: those with its `mark`, wherever they have moved, and what descends from them or from
    `roots`, and the roots, up to those with another mark. This process is never one of them.
    """
    import psutil

    processes, children = {}, defaultdict(list)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            children[process.ppid()].append(process.pid)
            processes[process.pid] = process
    marks = {pid: _mark_of(process) for pid, process in processes.items()}
    waiting = [pid for pid, found in marks.items() if mark and found == mark]
    known = {found.pid for root in roots if (found := root.find()) is not None}
    waiting += known
    members: set[int] = set()
    while waiting:
        pid = waiting.pop()
        if pid not in members and (pid in known or marks.get(pid, "") in ("", mark)):
            members.add(pid)
            waiting += children[pid]
    members.discard(os.getpid())
    return [processes[pid] for pid in members if pid in processes and _runs(processes[pid])]


def _mark_of(process: psutil.Process) -> str:
    import psutil

    try:
        return str(process.environ().get(MARK, ""))
    except (psutil.Error, OSError):
        return ""


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def send(process: psutil.Process, number: signal.Signals) -> bool:
    """Signal a process if it still is the one that was meant; whether it was signalled."""
    import psutil

    try:
        if not hasattr(os, "pidfd_open"):
            process.send_signal(number)
            return True
        # The descriptor stays with the process it was opened on, so nothing can slip in after the check.
        descriptor = os.pidfd_open(process.pid)
        try:
            if not process.is_running():
                return False
            signal.pidfd_send_signal(descriptor, number)
            return True
        finally:
            os.close(descriptor)
    except (psutil.Error, OSError):
        return False


def kill_family(mark: str, roots: Iterable[Identity] = (), patience: float = 0.0) -> int:
    """End every process of an attempt, those that appear meanwhile too; how many had to be killed.

    Args:
        mark: see `family`
        roots: see `family`
        patience: seconds in which they may end by themselves
    """
    roots, killed = list(roots), set()
    deadline = time.monotonic() + patience
    while members := family(mark, roots):
        if time.monotonic() >= deadline + UNKILLABLE:
            break
        if time.monotonic() >= deadline:
            for process in members:
                if send(process, signal.SIGKILL):
                    killed.add(process.pid)
        time.sleep(POLL)
    return len(killed)


def run_starter(command: Sequence[str], within: float, **options: Any) -> str:
    """Run a command that leaves a process in the background and ends; why it could not, or an empty string.

    Args:
        within: seconds that it may take
        options: of `subprocess.run`; what is left behind must not hold its standard error
    """
    import subprocess

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
            **options,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = (done.stderr or done.stdout or "").strip().splitlines() or [f"exit code {done.returncode}"]
    return said[-1] if done.returncode else ""
