"""The supervisor of one attempt: starts the trainer, sends heartbeats, stops it on request, records how it ended.

`python -m dapoctl.runs.jobs.supervisor DIRECTORY NUMBER --lock=FD --leases=[FD,...] --devices=[...]` returns when the
supervisor runs in the background, in a session of its own. It holds the lock on the run's folder for as long as it
lives, and with the trainer the leases of the devices.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from dapoctl.errors import DapoctlError, StorageError
from dapoctl.runs.attempts import EXIT, GRACE, HEARTBEAT, LOG, PROCESS, StopRequest, attempt_folder, read_stop
from dapoctl.runs.ending import Ending, ending, oom_kills
from dapoctl.runs.files import SCHEMA, read_json, write_json
from dapoctl.runs.jobs.grace import grace_for
from dapoctl.runs.jobs.launch import OF_THE_ATTEMPT
from dapoctl.runs.jobs.leases import VISIBLE, hides_gpus
from dapoctl.runs.jobs.scheduler import blocked_by_memory, schedule
from dapoctl.runs.jobs.waiter import ensure_waiter
from dapoctl.runs.locks import release
from dapoctl.runs.processes import MARK, MODULE, Identity, kill_family, send

LOOK = 0.2
"""Seconds between two looks at the trainer and at requests"""
BEAT = 5.0
"""Seconds between two heartbeats"""
VISIT = 15.0
"""Seconds between two looks at the queue: other programs free GPUs without notice"""
LINGER = 5.0
"""Seconds that a trainer's child processes get to end after it"""
MEMORY_FREE_WITHIN = 60.0
"""Seconds after an attempt in which its GPUs' memory becomes free"""
PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """The supervisor of one attempt."""

    def __init__(
        self, directory: Path, number: int, lock: int, leases: list[int], devices: list[dict[str, Any]]
    ) -> None:
        self.directory = directory
        self.folder = attempt_folder(directory, number)
        self.number = number
        self.lock = lock
        self.leases = leases
        self.devices = devices
        self.mark = f"{directory.name}/{number}/{secrets.token_hex(8)}"
        self.me = Identity.of(os.getpid())
        self.trainer: Identity | None = None
        self.status: int | None = None
        """The trainer's exit status, as `waitpid` returns it"""
        self.told_to_stop = False
        self.grace = GRACE
        self.killed = False
        """The grace period was over"""

    def begin(self) -> None:
        """Record this process, then start the trainer."""
        subreaper(True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._record()
        self.ooms = oom_kills()
        environment = {name: value for name, value in os.environ.items() if name not in OF_THE_ATTEMPT}
        gpus = [device["key"] for device in self.devices if device["gpu"]]
        # A run that was given a slot leaves the GPUs alone.
        if gpus or hides_gpus():
            environment[VISIBLE] = ",".join(gpus)
        command = [sys.executable, *MODULE, "dapoctl", "runs", "attempt", str(self.directory), str(self.number)]
        with (self.folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**environment, MARK: self.mark, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=self.leases,
                start_new_session=True,
            )
        self.trainer = Identity.of(process.pid)
        process.returncode = 0  # Collected by `_reap`, with the orphans that come to this process.
        self._record()

    def _record(self) -> None:
        values = {"schema": SCHEMA, "mark": self.mark, "devices": self.devices, "started": time.time()}
        values |= (self.trainer or self.me).as_dict()
        write_json(self.folder / PROCESS, {**values, "supervisor": self.me.as_dict()})

    def watch(self) -> None:
        """Wait for the trainer, and serve requests meanwhile."""
        beat = visit = time.monotonic()
        served: StopRequest | None = None
        deadline = math.inf
        while self._reap() is None:
            now = time.monotonic()
            if (request := self._request()) is not None and request != served:
                # A later request may be more urgent.
                served, deadline = request, min(deadline, now + request.grace)
                self._signal(signal.SIGTERM)
            if now >= deadline and not self.killed:
                self.killed = True
                self._signal(signal.SIGKILL)
            if now >= beat:
                beat = now + BEAT
                with contextlib.suppress(OSError):
                    (self.folder / HEARTBEAT).touch()
            if now >= visit:
                visit = now + VISIT
                self._look_at_queue(wait=False)
            time.sleep(LOOK)

    def _request(self) -> StopRequest | None:
        """The newest request to end the attempt."""
        return read_stop(self.folder) or (StopRequest(self.grace) if self.told_to_stop else None)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self.told_to_stop:
            self.grace = grace_for(self.directory)
        self.told_to_stop = True

    def _signal(self, number: signal.Signals) -> None:
        process = self.trainer.find() if self.trainer else None
        if process is not None:
            send(process, number)

    def _reap(self) -> int | None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if self.trainer is not None and pid == self.trainer.pid:
                    self.status = status
        return self.status

    def end(self) -> None:
        """Kill what is left of the attempt, record how it ended, release its devices and start the next run."""
        assert self.trainer is not None
        assert self.status is not None
        left = kill_family(self.mark, [self.me, self.trainer], 0.0 if self.killed else LINGER)
        stopped = self.told_to_stop or read_stop(self.folder) is not None
        outcome = ending(read_json(self.folder / EXIT), self.status, stopped, self.killed, oom_kills() > self.ooms)
        try:
            self._write(outcome, left)
        except StorageError as error:
            # The released lock shows that it is over; the next run must not wait for this disk.
            print(error, file=sys.stderr, flush=True)
        release(*self.leases, self.lock)
        self.leases = []
        deadline = time.monotonic() + MEMORY_FREE_WITHIN
        self._look_at_queue()
        root = self.directory.parent
        while time.monotonic() < deadline and blocked_by_memory(root):
            time.sleep(1.0)
            self._look_at_queue()

    def _write(self, outcome: Ending, left: int) -> None:
        values = {"schema": SCHEMA, **outcome.as_dict(), "time": time.time(), "processes_killed": left}
        write_json(self.folder / EXIT, values)

    def _look_at_queue(self, wait: bool = True) -> None:
        with without_adoption():
            try:
                schedule(self.directory.parent, wait)
                ensure_waiter(self.directory.parent)
            except DapoctlError as error:
                print(f"the queue could not be checked: {error}", file=sys.stderr, flush=True)


def subreaper(on: bool) -> None:
    """Set whether orphaned descendants become this process's children, so that none escapes. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


@contextlib.contextmanager
def without_adoption() -> Iterator[None]:
    """In the block, a supervisor that is started for another run does not become this one's child."""
    subreaper(False)
    try:
        yield
    finally:
        subreaper(True)


def main() -> int:
    """Go to the background; return the foreground process's exit code, 0 once the trainer was started."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--lock", type=int, required=True)
    parser.add_argument("--leases", type=json.loads, required=True)
    parser.add_argument("--devices", type=json.loads, required=True)
    options = parser.parse_args()
    ready, answer = os.pipe()
    if os.fork():
        os.close(answer)
        reply = os.read(ready, 4096)
        if reply != b"ready":
            print(reply.decode(errors="replace") or "it ended at once", file=sys.stderr)
            return 1
        return 0
    os.setsid()
    os.close(ready)
    supervisor = Supervisor(options.directory, options.number, options.lock, options.leases, options.devices)
    try:
        supervisor.begin()
    except (DapoctlError, OSError) as error:
        # The trainer may have been started before the record of it failed.
        kill_family(supervisor.mark)
        os.write(answer, str(error).encode()[:4000])
        return 1
    _detach(supervisor.folder)
    os.write(answer, b"ready")
    os.close(answer)
    supervisor.watch()
    supervisor.end()
    return 0


def _detach(folder: Path) -> None:
    """Release the terminal and the working folder; output from here on goes to the attempt's log."""
    with (folder / LOG).open("ab") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    os.chdir("/")


if __name__ == "__main__":
    sys.exit(main())
