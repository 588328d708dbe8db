"""Evaluations in the background: one after another, by a process in a session of its own that outlives whoever started it.

`python -m dapoctl.evaluation.background JOBS` returns when that process runs on. Each job is a `dapoctl eval` of one run,
its output in `evals/eval.log` of the run's folder; `evals/eval.json` says how it stands. They take no lease: nobody has to
wait for an evaluation that a person starts by hand either.
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
from dapoctl.runs.processes import MARK, Identity, run_starter, send
from dapoctl.runs.summary import EVALS

LOG, RECORD = "eval.log", "eval.json"
ALIVE = ("waiting", "evaluating")
END = 4096
"""Bytes of a log's end that are read"""
STARTED_WITHIN = 60.0
"""Seconds that the process may take to begin"""
INTERRUPTED = 130


@dataclass(frozen=True)
class Background:
    """How a run's last evaluation in the background stands."""

    state: str
    """waiting, evaluating, finished, stopped, failed, or lost: gone without a word"""
    words: str
    """The last that it said"""
    options: tuple[str, ...]
    """Those of `dapoctl eval`"""
    log: Path
    ended: float = 0.0
    """Seconds since the epoch; 0 before the end"""

    @property
    def alive(self) -> bool:
        """Whether more will come."""
        return self.state in ALIVE


def start(runs: Sequence[tuple[Path, int | None]], options: Sequence[str]) -> None:
    """Evaluate runs (folder, and checkpoint where it is not the latest) with the same `options` of `dapoctl eval`.

    Raises:
        UserError: one of them is being evaluated already.
        StorageError: the process could not be started.
    """
    jobs = []
    for directory, step in runs:
        if (known := background(directory)) is not None and known.alive:
            raise UserError(f"`{directory.name}` is being evaluated already: {known.words}")
        chosen = ["--step", str(step)] if step is not None else []
        jobs.append({"run": str(directory.resolve()), "options": [*options, *chosen]})
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    failure = run_starter(
        [sys.executable, "-m", "dapoctl.evaluation.background", json.dumps(jobs)],
        STARTED_WITHIN,
        env={**environment, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
    )
    if failure:
        raise StorageError(f"the evaluation could not be started: {failure}")


def background(directory: Path) -> Background | None:
    """How the run's last evaluation in the background stands; None where there was none."""
    found = read_json(directory / EVALS / RECORD)
    if not isinstance(found, dict):
        return None
    state, log = str(found.get("state", "")), directory / EVALS / LOG
    identity = Identity.read(found)
    if state in ALIVE and identity is not None and identity.here() and identity.find() is None:
        state = "lost"
    words = "waits for the one before it" if state == "waiting" else _last_words(log) or state
    options = found.get("options")
    listed = tuple(str(word) for word in options) if isinstance(options, list) else ()
    ended = found.get("ended")
    return Background(state, words, listed, log, float(ended) if isinstance(ended, (int, float)) else 0.0)


def stop(directory: Path) -> bool:
    """Ask the process that evaluates this run to end, and with it what waits behind; whether there was one to ask.

    What is sampled so far stays, and the same evaluation goes on from there.
    """
    identity = Identity.read(read_json(directory / EVALS / RECORD))
    process = identity.find() if identity is not None else None
    known = background(directory)
    return process is not None and known is not None and known.alive and send(process, signal.SIGTERM)


def _last_words(log: Path) -> str:
    """The last paragraph of an error, else the last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - END))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    begun = [place for place, text in enumerate(lines) if text.startswith("error: ")]
    return " ".join(text.strip() for text in lines[begun[-1] :]) if begun else lines[-1].strip() if lines else ""


class _Worker:
    """The process that evaluates."""

    def __init__(self, jobs: Sequence[dict[str, Any]], identity: dict[str, Any]) -> None:
        self.jobs, self.identity = jobs, identity
        self.child: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def record(self, job: dict[str, Any], state: str, **more: Any) -> None:
        values = {"schema": SCHEMA, "state": state, "options": job["options"], **self.identity, **more}
        write_json(Path(job["run"]) / EVALS / RECORD, values)

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)

    def work(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for job in self.jobs:
            code = INTERRUPTED if self.stopped else self._evaluate(job)
            state = "finished" if code == 0 else "stopped" if code == INTERRUPTED else "failed"
            self.record(job, state, code=code, ended=time.time())

    def _evaluate(self, job: dict[str, Any]) -> int:
        directory = Path(job["run"])
        self.record(job, "evaluating")
        command = [sys.executable, "-m", "dapoctl", "eval", str(directory), *job["options"]]
        with (directory / EVALS / LOG).open("wb") as log:
            self.child = subprocess.Popen(
                [*command, "--runs-dir", str(directory.parent)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            if self.stopped:
                self.child.send_signal(signal.SIGINT)
            return self.child.wait()


def main(text: str) -> None:
    """Leave a process behind that works on the jobs; each has a record before this one ends."""
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
    # Nothing arrives when the records could not be written.
    if os.read(ready, 1):
        _Worker(jobs, Identity.of(os.getpid()).as_dict()).work()


if __name__ == "__main__":
    main(sys.argv[1])
