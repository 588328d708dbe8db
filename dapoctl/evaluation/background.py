"""Evaluations in the background: one after another, by a process in its own session that outlives the one that started it.

`python -m dapoctl.evaluation.background JOBS` returns when that process is running. Each job is a `dapoctl eval` of one run;
its output is in `evals/eval.log` of the run's folder, its state in `evals/eval.json`. Jobs take no lease, like evaluations
that are started by hand.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from dapoctl.errors import StorageError, UserError
from dapoctl.runs.files import SCHEMA, read_json, write_json
from dapoctl.runs.ownership import refuse_foreign
from dapoctl.runs.processes import MARK, MODULE, Identity, run_starter, send
from dapoctl.runs.summary import EVALS

LOG, RECORD = "eval.log", "eval.json"
ALIVE = ("waiting", "evaluating")
END = 4096
"""Bytes read from the end of a log"""
STARTED_WITHIN = 60.0
"""Seconds that the process may take to start"""
INTERRUPTED = 130
ENDED_BY_STOP = (INTERRUPTED, -signal.SIGINT)
"""Exit codes of an evaluation that was told to stop; the second where a signal found it on its way out"""
ONE_STOP = 5.0
"""Seconds in which further requests to stop are the same one: several runs share a process, and each asks it"""


@dataclass(frozen=True)
class Background:
    """The state of a run's last evaluation in the background."""

    state: str
    """waiting, evaluating, finished, stopped, failed, or lost: the process ended without a record"""
    words: str
    """The end of its output"""
    options: tuple[str, ...]
    """Its options of `dapoctl eval`"""
    log: Path
    ended: float = 0.0
    """Seconds since the epoch; 0 before the end"""

    @property
    def alive(self) -> bool:
        """Whether it is waiting or running."""
        return self.state in ALIVE


def start(runs: Sequence[tuple[Path, int | None]], options: Sequence[str]) -> None:
    """Evaluate `runs` (folder, and step if not the latest checkpoint) with the same `options` of `dapoctl eval`.

    Raises:
        UserError: one of them is already being evaluated.
        StorageError: the process could not be started.
    """
    jobs = []
    for directory, step in runs:
        if (known := background(directory)) is not None and known.alive:
            raise UserError(f"`{directory.name}` is already being evaluated: {known.words}")
        chosen = ["--step", str(step)] if step is not None else []
        jobs.append({"run": str(directory.resolve()), "options": [*options, *chosen]})
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    failure = run_starter(
        [sys.executable, *MODULE, "dapoctl.evaluation.background", json.dumps(jobs)],
        STARTED_WITHIN,
        env={**environment, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
    )
    if failure:
        raise StorageError(f"the evaluation could not be started: {failure}")


def background(directory: Path) -> Background | None:
    """The state of the run's last evaluation in the background; None if there was none."""
    record = read_json(directory / EVALS / RECORD)
    if not isinstance(record, dict):
        return None
    state, log = str(record.get("state", "")), directory / EVALS / LOG
    identity = Identity.read(record)
    if state in ALIVE and identity is not None and identity.here() and identity.find() is None:
        state = "lost"
    words = "waits for the one before it" if state == "waiting" else _last_message(log) or state
    options = record.get("options")
    listed = tuple(str(word) for word in options) if isinstance(options, list) else ()
    ended = record.get("ended")
    return Background(state, words, listed, log, float(ended) if isinstance(ended, (int, float)) else 0.0)


def stop(directory: Path) -> bool:
    """Ask the process that evaluates this run to stop, together with its waiting jobs; False if there is no such process.

    Responses that are stored are kept, and the same evaluation continues from there.

    Raises:
        UserError: the run is another user's.
    """
    refuse_foreign(directory)
    identity = Identity.read(read_json(directory / EVALS / RECORD))
    process = identity.find() if identity is not None else None
    known = background(directory)
    return process is not None and known is not None and known.alive and send(process, signal.SIGTERM)


def _last_message(log: Path) -> str:
    """The log's last error message, else its last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - END))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    errors = [number for number, text in enumerate(lines) if text.startswith("error: ")]
    return " ".join(text.strip() for text in lines[errors[-1] :]) if errors else lines[-1].strip() if lines else ""


class _Worker:
    """The process that evaluates."""

    def __init__(self, jobs: Sequence[dict[str, Any]], identity: dict[str, Any]) -> None:
        self.jobs, self.identity = jobs, identity
        self.child: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self.told = -ONE_STOP

    def record(self, job: dict[str, Any], state: str, **more: Any) -> None:
        values = {"schema": SCHEMA, "state": state, "options": job["options"], **self.identity, **more}
        write_json(Path(job["run"]) / EVALS / RECORD, values)

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped = True
        now = time.monotonic()
        # A second SIGINT makes an evaluation quit at once.
        if self.child is not None and self.child.poll() is None and now - self.told >= ONE_STOP:
            self.told = now
            self.child.send_signal(signal.SIGINT)

    def work(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for job in self.jobs:
            code = INTERRUPTED if self.stopped else self._evaluate(job)
            state = "finished" if code == 0 else "stopped" if code in ENDED_BY_STOP else "failed"
            self.record(job, state, code=code, ended=time.time())

    def _evaluate(self, job: dict[str, Any]) -> int:
        directory = Path(job["run"])
        self.record(job, "evaluating")
        command = [sys.executable, *MODULE, "dapoctl", "eval", str(directory), *job["options"]]
        with (directory / EVALS / LOG).open("wb") as log:
            self.child = subprocess.Popen(
                [*command, "--runs-dir", str(directory.parent)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            if self.stopped:
                self.told = time.monotonic()
                self.child.send_signal(signal.SIGINT)
            return self.child.wait()


def main(text: str) -> None:
    """Fork a process that works on the jobs, and return once each job has a record."""
    jobs = json.loads(text)
    ready, go = os.pipe()
    if pid := os.fork():
        worker = _Worker(jobs, Identity.of(pid).as_dict())
        for job in jobs:
            worker.record(job, "waiting")
        os.write(go, b"x")
        return
    os.close(go)
    os.setsid()
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 (a stream for all three)
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    # The pipe is closed without data if the records could not be written.
    if os.read(ready, 1):
        _Worker(jobs, Identity.of(os.getpid()).as_dict()).work()


if __name__ == "__main__":
    main(sys.argv[1])
