"""The run store: a folder per run, which is all there is to know about it.

Reading never fails on a foreign or half-written folder: the summary says what is wrong with it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.errors import UserError, nearest
from dapoctl.runs.files import SCHEMA, read_json, read_lines

SPEC = "spec.json"


@dataclass(frozen=True)
class RunSummary:
    """A run as the store tells it."""

    id: str
    directory: Path
    name: str = ""
    state: str = "unknown"
    """starting, running, finished, failed, stopped, or lost: its process is gone and left no word"""
    step: int = 0
    steps: int = 0
    components: tuple[str, ...] = ()
    created: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    """The newest value of each metric"""
    spec: dict[str, Any] = field(default_factory=dict, repr=False)
    problem: str = ""
    """Why the folder cannot be read as a run"""


def runs_root(option: Path | None = None) -> Path:
    """Where runs are: `--runs-dir`, else the environment's DAPOCTL_RUNS, else ./runs."""
    return option or Path(os.environ.get("DAPOCTL_RUNS") or "runs")


def new_run_id(name: str) -> str:
    """`<time>-<name>-<4 random>`; sorts by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{secrets.token_hex(2)}"


def run_directories(root: Path) -> list[Path]:
    """Every folder in the store, oldest first."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def list_runs(root: Path) -> list[RunSummary]:
    """A summary of every folder in the store, oldest first."""
    return [read_run(path) for path in run_directories(root)]


def find_run(root: Path, text: str) -> Path:
    """The folder of the run that `text` names: an id, its unique beginning or end, a run's name, a path, or `last`.

    Raises:
        UserError: none or several runs fit.
    """
    if (Path(text) / SPEC).is_file():
        return Path(text)
    folders = run_directories(root)
    if text == "last" and folders:
        return folders[-1]
    fits = [path for path in folders if path.name == text] or [
        path for path in folders if path.name.startswith(text) or path.name.endswith(text) or _name(path) == text
    ]
    if not fits:
        names = [path.name for path in folders]
        there = f" The newest is `{names[-1]}`." if names else " The store is empty."
        raise UserError(f"no run `{text}` in `{root}`.{nearest(text, names)}{there}")
    if len(fits) > 1:
        raise UserError(f"`{text}` fits {len(fits)} runs: {', '.join(path.name for path in fits[-5:])}; name one")
    return fits[0]


def _name(path: Path) -> str:
    return "-".join(path.name.split("-")[2:-1])


def attempts(directory: Path) -> list[Path]:
    """The run's attempts, first to last."""
    numbered = [path for path in (directory / "attempts").glob("*") if path.name.isdigit()]
    return sorted(numbered, key=lambda path: int(path.name))


def metric_rows(directory: Path) -> Iterator[dict[str, Any]]:
    """The rows of `metrics.jsonl`: step, time, metrics."""
    for row in read_lines(directory / "metrics.jsonl"):
        if isinstance(row.get("metrics"), dict) and isinstance(row.get("step"), int):
            # Strict JSON has no NaN and no infinity: they are written as the words that float() reads.
            yield row | {"metrics": {name: float(value) for name, value in row["metrics"].items()}}


def read_run(directory: Path) -> RunSummary:
    """The run in `directory`, or a summary that says why it is none."""
    spec = read_json(directory / SPEC)
    if not isinstance(spec, dict):
        reason = "no spec.json: not a run" if not (directory / SPEC).exists() else "spec.json is damaged"
        return RunSummary(directory.name, directory, problem=reason)
    if spec.get("schema", 0) > SCHEMA:
        problem = f"written by a newer dapoctl (schema {spec['schema']}, this one reads {SCHEMA})"
        return RunSummary(directory.name, directory, problem=problem)
    metrics: dict[str, float] = {}
    step = 0
    for row in metric_rows(directory):
        metrics |= row["metrics"]
        step = int(row.get("step", step))
    config = spec.get("config", {})
    return RunSummary(
        id=directory.name,
        directory=directory,
        name=str(spec.get("name", "")),
        state=run_state(directory),
        step=step,
        steps=int(config.get("steps", 0)),
        components=tuple(spec.get("pipeline", ())),
        created=float(spec.get("created", 0.0)),
        metrics=metrics,
        spec=spec,
    )


def run_state(directory: Path) -> str:
    """What the newest attempt says of itself, checked against the process that it names."""
    last = attempts(directory)
    if not last:
        return "starting"
    ended = read_json(last[-1] / "exit.json")
    if isinstance(ended, dict):
        return str(ended.get("state", "failed"))
    process = read_json(last[-1] / "proc.json")
    return "running" if isinstance(process, dict) and is_alive(process) else "lost"


def is_alive(process: dict[str, Any]) -> bool:
    """Whether the process in a `proc.json` still runs: same boot, same PID, same start time."""
    import psutil

    if process.get("boot_id") != boot_id():
        return False
    try:
        found = psutil.Process(int(process["pid"]))
        return bool(abs(found.create_time() - float(process["create_time"])) < 1.0)
    except (psutil.Error, KeyError, ValueError):
        return False


def boot_id() -> str:
    """An identifier of this boot of this machine; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
