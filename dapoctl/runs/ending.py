"""How an attempt ended: what the trainer said, and what the kernel says of its process."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ending:
    """What `exit.json` says."""

    state: str
    """finished, failed or stopped"""
    error: str = ""
    code: int | None = None
    """The process's exit code; None when a signal ended it"""
    signal: str = ""
    """SIGKILL, SIGSEGV, ..."""
    out_of_memory: bool = False
    reason: str = ""
    """Why a finished run ended before its last step"""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def ending(said: Any, status: int, stopped: bool, killed: bool, system_out_of_memory: bool) -> Ending:
    """How an attempt ended.

    Args:
        said: what the trainer itself wrote to `exit.json`; None when it did not come to that
        status: its process's, as `waitpid` gives it
        stopped: whether it was asked to stop
        killed: whether the supervisor killed it, because it did not end in time
        system_out_of_memory: whether the kernel ended processes for want of memory meanwhile
    """
    code, name = None, ""
    if os.WIFSIGNALED(status):
        name = signal_name(os.WTERMSIG(status))
    else:
        code = os.waitstatus_to_exitcode(status)
    if isinstance(said, dict) and "state" in said:
        return Ending(
            str(said["state"]), str(said.get("error", "")), code, name, bool(said.get("out_of_memory", False)),
            str(said.get("reason", "")),
        )  # fmt: skip
    if stopped:
        error = "it did not end in time after SIGTERM and was killed" if killed else ""
        return Ending("stopped", error, code, name)
    if name == "SIGKILL" and system_out_of_memory:
        error = "killed by SIGKILL: the system was out of memory; `dapoctl doctor` estimates what a run needs"
        return Ending("failed", error, code, name, out_of_memory=True)
    if name:
        return Ending("failed", f"killed by {name}", code, name)
    return Ending("failed", f"it ended with exit code {code} and no other word; its log may say more", code, name)


def signal_name(number: int) -> str:
    """`SIGKILL`"""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory: in this container if it says so, else on this machine."""
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return 0
