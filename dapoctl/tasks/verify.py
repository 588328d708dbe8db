"""A pool of killable processes that compare a response with the gold answer by math-verify.

math-verify limits its own time with a signal, which works only in a main thread and does not interrupt one long integer
operation (`9^{9^{9^9}}`). Here the limit is kept from outside: a worker that exceeds it is killed and replaced. Workers
are separate interpreters, not forks: a parent with threads and a GPU is safe, and its `__main__` is not imported.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapoctl.errors import DapoctlError
from dapoctl.tasks import answers

if TYPE_CHECKING:
    from dapoctl.batch import Outcome

SHOWN = 200
"""Characters of an extracted answer that are kept"""
STARTUP_S = 120.0
"""Seconds that a worker may take to import math-verify."""
_WORKER = Path(__file__).with_name("verify_worker.py")
_MAY_HOLD_ANSWER = re.compile(r"[\d$\\\[]")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one response."""

    outcome: Outcome
    extracted: str | None = None
    marked: bool | None = field(default=None, compare=False)
    """Whether the response marks its answer as such; None where the rule does not say"""


class Verifier:
    """The scorer `math_lenient`, and the workers of `math`, which start when first needed and are shared by all threads.

    A hang costs one worker and gives "timeout". A worker that dies is replaced and the pair is tried once more, then gets
    "error". Time in a queue or in starting a worker does not count.
    """

    def __init__(self, workers: int = 4, limit_s: float = 5.0) -> None:
        self.limit_s = limit_s
        self._slots = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._closed = False
        self._proven = False
        weakref.finalize(self, _kill_all, self._workers)

    def verify(self, text: str, gold: str, question: str = "") -> Verdict:  # noqa: ARG002 - `Meaning` reads the question
        """Judge a whole response: its marked final answer, else what math-verify finds in the tail.

        Raises:
            DapoctlError: no worker could ever be started.
        """
        answer, gold = answers.extract(text), answers.clean(gold)
        if answer is None:
            tail = text[-answers.TAIL :]
            if not _MAY_HOLD_ANSWER.search(tail):
                return Verdict("unanswered", marked=False)
            verdict = self.ask(tail, gold, marked=False)
            return Verdict(verdict.outcome, verdict.extracted, marked=False)
        shown, answer = answer[:SHOWN], answers.without_unit(answer) if answers.is_number(gold) else answer
        right = answers.decide(answer, gold)
        if right is not None:
            return Verdict("right" if right else "wrong", shown, marked=True)
        verdict = self.ask(answer, gold, marked=True)
        return Verdict(verdict.outcome, shown, marked=True)

    def ask(self, answer: str, gold: str, *, marked: bool, exact: bool = False) -> Verdict:
        """Let a worker compare.

        Args:
            answer: an answer, or prose that may hold one
            gold: the problem's answer
            marked: it is an answer, not prose
            exact: small numbers are compared by their size, not to six decimal places
        """
        request = {
            "gold": gold,
            "answer": answer[-answers.TAIL :],
            "marked": marked,
            "exact": exact,
            "limit": self.limit_s,
        }
        with self._slots:
            for _ in range(2):
                worker = self._take()
                if worker is None:
                    break
                try:
                    reply = worker.ask(request, self.limit_s)
                except TimeoutError:
                    self._drop(worker)
                    return Verdict("timeout")
                except (OSError, ValueError):
                    self._drop(worker)
                    continue
                except BaseException:
                    # An interrupt between request and reply: the reply would be taken for the next request's.
                    self._drop(worker)
                    raise
                self._put_back(worker)
                return Verdict(reply["outcome"], reply["extracted"])
        return Verdict("error")

    def pids(self) -> list[int]:
        """Process ids of the current workers."""
        with self._lock:
            return sorted(worker.process.pid for worker in self._workers)

    def close(self) -> None:
        """Kill the workers; a pair that is being judged, and every later one, gets "error"."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._workers.difference(idle)
        for worker in idle:
            self._drop(worker)
        for worker in busy:
            # The thread that waits for the reply finds the link closed and drops the worker itself.
            worker.stop()

    def _take(self) -> _Worker | None:
        """An idle worker or a new one; None when closed, or when workers that used to start no longer do."""
        with self._lock:
            if self._closed:
                return None
            if self._idle:
                return self._idle.pop()
        problem = ""
        for _ in range(3):
            with self._lock:
                if self._closed:
                    return None
                worker = _Worker()
                self._workers.add(worker)
            try:
                problem = worker.wait_ready()
            except (OSError, ValueError) as error:
                problem = f"it died or was too slow ({type(error).__name__})"
            except BaseException:
                self._drop(worker)
                raise
            if not problem:
                self._proven = True
                return worker
            self._drop(worker)
        if self._proven or self._closed:
            return None
        raise DapoctlError(
            f"the math verifier's worker does not start: {problem}; check `python -c 'import math_verify'`"
        )

    def _put_back(self, worker: _Worker) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(worker)
                return
        self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        with self._lock:
            self._workers.discard(worker)


class _Worker:
    """One process and the socket to it. After a call that fails, the worker can only be killed."""

    def __init__(self) -> None:
        self.link, theirs = socket.socketpair()
        with theirs:
            # -P: the script's folder holds a `math.py`. A process group of its own: Ctrl-C at the terminal is the run's
            # to handle. No PR_SET_PDEATHSIG: it fires when the starting thread ends; the socket's end does not.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", str(_WORKER)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )

    def wait_ready(self) -> str:
        """Empty if the worker is ready, else why it is not."""
        return str(self._receive(time.monotonic() + STARTUP_S).get("failed", ""))

    def ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Raises TimeoutError past the limit, OSError or ValueError if the worker is gone or sends an invalid reply."""
        deadline = time.monotonic() + limit_s
        self.link.settimeout(limit_s)
        self.link.sendall(json.dumps(request).encode() + b"\n")
        return self._receive(deadline)

    def stop(self) -> None:
        """End the process at once and collect it."""
        self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """`stop`, and close the link, which no other thread may be using."""
        self.stop()
        self.link.close()

    def _receive(self, deadline: float) -> dict[str, Any]:
        buffer = b""
        while not buffer.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.link.settimeout(left)
            part = self.link.recv(65536)
            if not part:
                raise ConnectionError("the worker is gone")
            buffer += part
        reply: dict[str, Any] = json.loads(buffer)
        return reply


def _kill_all(workers: set[_Worker]) -> None:
    for worker in list(workers):
        worker.kill()
    workers.clear()
