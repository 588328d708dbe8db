"""Writing a run while it is worked on: attempts, metrics, events, samples, evaluations."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dapoctl.errors import StorageError, UserError
from dapoctl.runs.attempts import (
    EXIT,
    LOCK,
    LOG,
    PROCESS,
    WRITER,
    ActivityWriter,
    attempt_folder,
    attempts,
    next_number,
)
from dapoctl.runs.files import FORGOTTEN, SCHEMA, LineWriter, storage_errors, sweep_temporary, write_json, write_lines
from dapoctl.runs.locks import release, try_lock
from dapoctl.runs.processes import MARK, Identity
from dapoctl.runs.remove import sweep_trash
from dapoctl.runs.summary import EVALS, SPEC


def jsonable(value: float) -> float | str:
    """A number as JSON has it; one that is not finite as "NaN", "Infinity" or "-Infinity"."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


class RunRecord:
    """One attempt's writer. What an earlier attempt wrote past `start_step` is superseded."""

    def __init__(self, directory: Path, start_step: int = 0, resumed: bool = False, attempt: int | None = None) -> None:
        """`attempt` is the number that a supervisor gave; without one this process holds the run's lock itself.

        Raises:
            UserError: another process works on the run.
            StorageError: the folder cannot be written.
        """
        self.directory = directory
        self._locks = [_claim(directory / WRITER)]
        if attempt is None:
            self._locks.append(_claim(directory / LOCK))
        _sweep(directory)
        self.attempt = attempt_folder(directory, attempt or next_number(directory))
        if attempt is None:
            with storage_errors(directory):
                self.attempt.mkdir(parents=True)
            write_json(self.attempt / PROCESS, _process(f"{directory.name}/{self.attempt.name}/{secrets.token_hex(8)}"))
        self.activity = ActivityWriter(self.attempt, start_step)
        self.activity.note("start")
        last = start_step if resumed else -1
        self._metrics = LineWriter(directory / "metrics.jsonl", {"kind": "metrics"}, lambda row: row["step"] <= last)
        self._events = LineWriter(directory / "events.jsonl", {"kind": "events"})

    def event(self, kind: str, **details: Any) -> None:
        """Note something that happened."""
        self._events.write({"time": time.time(), "attempt": int(self.attempt.name), "event": kind, **details})

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a step's metrics."""
        values = {name: jsonable(value) for name, value in metrics.items()}
        self._metrics.write({"step": step, "time": time.time(), "metrics": values})

    def samples(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Write every response of a step."""
        write_lines(self.directory / "samples" / f"step_{step}.jsonl", {"kind": "samples", "step": step}, rows)

    def evaluation(self, name: str, step: int, rows: Sequence[dict[str, Any]], summary: Mapping[str, Any]) -> None:
        """Write an evaluation's responses and its summary."""
        folder = self.directory / "evals" / name / f"step_{step}"
        write_lines(folder / "samples.jsonl", {"kind": "eval", "set": name, "step": step}, rows)
        write_json(folder / "summary.json", {"schema": SCHEMA, **summary})

    def keep_traceback(self, failure: BaseException) -> Path | None:
        """Write the traceback of `failure` to the attempt's log; its path, or None if that failed."""
        path = self.attempt / LOG
        try:
            with path.open("a", encoding="utf-8", errors="replace") as log:
                traceback.print_exception(failure, file=log)
        except OSError:
            return None
        return path

    def ended(self, state: str, error: str = "", out_of_memory: bool = False, reason: str = "") -> None:
        """Record how the attempt ended; on a full disk this is lost rather than the error that ended it.

        Args:
            reason: why a finished run ended before its last step
        """
        values = {
            "schema": SCHEMA, "state": state, "error": error, "out_of_memory": out_of_memory, "reason": reason,
            "time": time.time(),
        }  # fmt: skip
        try:
            write_json(self.attempt / EXIT, values)
            self.event(state, error=error, **({"reason": reason} if reason else {}))
        except StorageError as failure:
            print(f"warning: {failure}", file=sys.stderr)

    def close(self) -> None:
        """Write no more; others may work on the run. The attempt's engine and components are closed by then."""
        self._metrics.close()
        self._events.close()
        os.environ.pop(MARK, None)
        release(*self._locks)


def refused(directory: Path, number: int, error: Exception) -> None:
    """Record that a supervised attempt ended with `error` before it had a record of its own."""
    values = {"schema": SCHEMA, "state": "failed", "error": str(error), "out_of_memory": False, "time": time.time()}
    with contextlib.suppress(StorageError):
        write_json(attempt_folder(directory, number) / EXIT, values)


def _claim(path: Path) -> int:
    gone = UserError(f"run `{path.parent.name}` was deleted meanwhile")
    if not (path.parent / SPEC).is_file():
        raise gone
    found = try_lock(path)
    if found is None:
        raise UserError(
            f"run `{path.parent.name}` is being worked on by another process; `dapoctl runs stop` ends that"
        )
    if not (path.parent / SPEC).is_file():
        # Whoever deletes a run holds its locks while it goes.
        release(found)
        raise gone
    return found


def _sweep(directory: Path) -> None:
    """Delete what attempts that were killed left half written; the caller holds the run's locks."""
    sweep_trash(directory)
    sweep_temporary(directory / "samples")
    sweep_temporary(directory / "checkpoints", "latest")
    for mine in ("metrics.jsonl", "events.jsonl"):
        sweep_temporary(directory, mine)
    # Other processes may be writing these.
    for folder in (directory, *attempts(directory), *(directory / EVALS).glob("*/*")):
        sweep_temporary(folder, older=FORGOTTEN)


def _process(mark: str) -> dict[str, Any]:
    # Children inherit it, so that they can be found even after this process is gone.
    os.environ[MARK] = mark
    return {"schema": SCHEMA, "mark": mark, "devices": [], "started": time.time(), **Identity.of(os.getpid()).as_dict()}
