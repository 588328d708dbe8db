"""Summaries of all runs at once, remembered in a file that may be deleted at any time.

Only runs that have ended are remembered, and used while their files have the size and time of change that they had then.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dapoctl.errors import StorageError
from dapoctl.runs.attempts import EXIT
from dapoctl.runs.files import read_json, write_text
from dapoctl.runs.state import ENDED, standing
from dapoctl.runs.summary import EVALS, METRICS, NOTES, SPEC, RunSummary, read_record, with_standing
from dapoctl.runs.tickets import tickets

INDEX = ".index.json"
VERSION = 2
REMEMBERED = ("name", "step", "steps", "created", "group", "note", "metrics", "problem", "updated", "state", "why")


def list_runs(root: Path) -> list[RunSummary]:
    """A summary of every folder in the store, oldest first."""
    queued = {ticket.run for ticket in tickets(root)}
    new: dict[str, Any] = {}
    with _no_collection():
        old = _read(root)
        found = [_summary(root, name, old.get(name), new, name in queued) for name in _run_names(root)]
    if new.keys() != old.keys() or any(new[name] is not old[name] for name in new):
        with contextlib.suppress(StorageError):
            write_text(root / INDEX, json.dumps({"version": VERSION, "runs": new}, separators=(",", ":")))
    return found


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Make many small objects that stay, without looking again and again for some that could go."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def run_directories(root: Path) -> list[Path]:
    """Every folder in the store, oldest first."""
    return [root / name for name in _run_names(root)]


def _run_names(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []


def _read(root: Path) -> dict[str, Any]:
    found = read_json(root / INDEX)
    if isinstance(found, dict) and found.get("version") == VERSION and isinstance(found.get("runs"), dict):
        return dict(found["runs"])
    return {}


def _summary(root: Path, name: str, known: Any, new: dict[str, Any], queued: bool) -> RunSummary:
    directory = root / name
    folder = os.path.join(root, name)  # noqa: PTH118
    attempt, stamps = _stamps(folder)
    try:
        fits = known["stamps"] == stamps
        summary = _recall(directory, known) if fits else None
    except (KeyError, TypeError, ValueError, AttributeError):
        summary = None
    recalled = summary is not None
    if summary is None:
        summary = read_record(directory)
    if not summary.problem and (queued or summary.state not in ENDED):
        summary = with_standing(summary, standing(directory, queued))
    if summary.state in ENDED and attempt and not queued:
        new[name] = known if recalled else {**_remember(summary), "stamps": stamps}
    return summary


def _remember(summary: RunSummary) -> dict[str, Any]:
    values = {key: getattr(summary, key) for key in REMEMBERED}
    return values | {
        "components": list(summary.components),
        "tags": list(summary.tags),
        "config": json.dumps(summary.config, separators=(",", ":")),
    }


def _recall(directory: Path, known: dict[str, Any]) -> RunSummary:
    values = {key: known[key] for key in REMEMBERED}
    return RunSummary(
        id=directory.name,
        directory=directory,
        components=tuple(known["components"]),
        tags=tuple(known["tags"]),
        config_text=str(known["config"]),
        **values,
    )


def _stamps(folder: str) -> tuple[int, list[Any]]:
    """(the last attempt's number, what changes when anything that is remembered does)."""
    number = 0
    with contextlib.suppress(OSError):
        numbers = [int(name) for name in os.listdir(f"{folder}/attempts") if name.isdecimal()]  # noqa: PTH208
        number = max(numbers, default=0)
    evals = [_stamp(f"{folder}/{EVALS}")]
    if evals[0]:
        with contextlib.suppress(OSError), os.scandir(f"{folder}/{EVALS}") as entries:
            evals += sorted(_stamp(entry.path) for entry in entries)
    files = [_stamp(f"{folder}/{name}") for name in (SPEC, METRICS, NOTES, f"attempts/{number}/{EXIT}")]
    return number, [number, *files, *evals]


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return ""
    return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"
