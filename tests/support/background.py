"""Runs in the background for tests: real processes, and waiting for what they do."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil

from dapoctl.runs.files import read_json
from dapoctl.runs.processes import MARK
from dapoctl.runs.state import processes_of
from dapoctl.runs.summary import RunSummary, read_run
from tests.support.cli import Done, dapoctl

T = TypeVar("T")
WAITER = "dapoctl.runs.jobs.waiter"
SHORT = ("steps=3", "rollout.prompts=2", "rollout.samples=4", "rollout.max_response_tokens=24", "eval.every=0")
LONG = ("steps=5000", *SHORT[1:], "checkpoint.every=1")


class Store:
    """A run store with leases of its own, and the commands on it."""

    def __init__(self, folder: Path, slots: int = 1) -> None:
        self.root = folder / "runs"
        self.cwd = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAPOCTL_")}
        self.env = {
            **kept,
            "NO_COLOR": "1",
            "HF_HUB_OFFLINE": "1",
            "DAPOCTL_RUNS": str(self.root),
            "DAPOCTL_LEASES": str(folder / "leases"),
            "DAPOCTL_SLOTS": str(slots),
        }

    def call(self, *arguments: str, code: int | None = 0, **extra: str) -> Done | subprocess.CompletedProcess[str]:
        """A command that must end with `code`: a process of its own where a screen is open in this one."""
        one = _process if _screen_is_open() else dapoctl
        done = one(*arguments, cwd=self.cwd, env=self.env | extra)
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, **extra: str) -> Any:
        return json.loads(self.call(*arguments, "--json", **extra).stdout)

    def run(self, *options: str, settings: tuple[str, ...] = SHORT, **extra: str) -> Path:
        """A new run; `options` say --detach or --queue."""
        found = self.json("run", *options, *(part for text in settings for part in ("--set", text)), **extra)
        return Path(found["directory"])

    def ids(self) -> list[str]:
        return [run["id"] for run in self.json("runs", "list")]


def _screen_is_open() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _process(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dapoctl", *arguments]
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    return subprocess.run(command, cwd=cwd, env=env, check=False, timeout=240, **options)


def plant_traps(folder: Path) -> Path:
    """Files of the folder that a user is in with the names of modules that the trainer imports; where they tell of it."""
    trace = folder / "imported"
    for name in ("datasets", "typing_extensions", "concurrent", "dapoctl"):
        (folder / f"{name}.py").write_text(f"open({str(trace)!r}, 'a').write({name!r})\nraise SystemExit(98)\n")
    return trace


def wait_for(what: Callable[[], T], seconds: float = 120.0, why: Callable[[], str] = lambda: "") -> T:
    """The first true value of `what`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing within {seconds} s: {why()}")


def wait_for_state(directory: Path, *states: str, seconds: float = 120.0) -> RunSummary:
    def there() -> RunSummary | None:
        found = read_run(directory)
        return found if found.state in states else None

    def log() -> str:
        logs = sorted(directory.glob("attempts/*/stdout.log"))
        return f"{read_run(directory).state}: {logs[-1].read_text()[-2000:] if logs else 'no log'}"

    return wait_for(there, seconds, log)  # type: ignore[return-value]


def wait_for_step(directory: Path, step: int) -> RunSummary:
    wait_for(lambda: read_run(directory).step >= step or read_run(directory).state in ("failed", "lost"))
    found = read_run(directory)
    assert found.step >= step, found
    return found


def end_waiters(folder: Path) -> None:
    """End the processes that wait with the runs of stores below `folder`."""
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if WAITER in command and Path(command[command.index(WAITER) + 1]).is_relative_to(folder):
                process.kill()
        except (psutil.Error, IndexError):
            continue


def trainer_of(directory: Path) -> psutil.Process:
    last = sorted(directory.glob("attempts/*"), key=lambda path: int(path.name))[-1]
    return psutil.Process(read_json(last / "proc.json")["pid"])


def supervisor_of(directory: Path) -> psutil.Process:
    last = sorted(directory.glob("attempts/*"), key=lambda path: int(path.name))[-1]
    return psutil.Process(read_json(last / "proc.json")["supervisor"]["pid"])


def processes_left(directory: Path) -> list[psutil.Process]:
    """Everything that bears the mark of the run's last attempt."""
    mark, _ = processes_of(directory)
    assert mark
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
