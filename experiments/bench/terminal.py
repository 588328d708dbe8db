"""`dapoctl tui` in a real terminal: a process in a pseudo-terminal, its output and its CPU time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

SIZE = (24, 80)
"""Rows and columns"""


class Terminal:
    """A running `dapoctl tui`, read as fast as it writes."""

    def __init__(self, root: Path, size: tuple[int, int] = SIZE) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        env = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        env.pop("NO_COLOR", None)
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dapoctl", "tui", "--runs-dir", str(root)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = b""

    def until(self, text: bytes, seconds: float = 60.0) -> float:
        """Seconds from the start to the first time that `text` is written.

        Raises:
            SystemExit: it is not written within `seconds`.
        """
        while time.perf_counter() - self.begun < seconds:
            if select.select([self._ours], [], [], 0.1)[0]:
                self.seen += os.read(self._ours, 65536)
                if text in self.seen:
                    return time.perf_counter() - self.begun
        raise SystemExit(f"{text!r} did not appear within {seconds} s: {self.seen[-2000:]!r}")

    def write(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def rest(self, seconds: float) -> float:
        """Wait `seconds` without input; the share of one core that it uses meanwhile."""
        before, begun = self.cpu(), time.perf_counter()
        stop = threading.Event()
        reader = threading.Thread(target=self._drain, args=(stop,))
        reader.start()
        time.sleep(seconds)
        used, took = self.cpu() - before, time.perf_counter() - begun
        stop.set()
        reader.join()
        return used / took

    def _drain(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if select.select([self._ours], [], [], 0.1)[0]:
                os.read(self._ours, 65536)

    def close(self) -> None:
        """Quit as a user does; kill the process if it does not end."""
        with contextlib.suppress(OSError):
            self.write(b"\x11")
        stop = threading.Event()
        reader = threading.Thread(target=self._drained, args=(stop,))
        reader.start()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        stop.set()
        reader.join()
        os.close(self._ours)

    def _drained(self, stop: threading.Event) -> None:
        with contextlib.suppress(OSError):
            self._drain(stop)


@contextlib.contextmanager
def terminal(root: Path, size: tuple[int, int] = SIZE) -> Iterator[Terminal]:
    """`dapoctl tui` on `root`, until the block ends."""
    process = Terminal(root, size)
    try:
        yield process
    finally:
        process.close()
