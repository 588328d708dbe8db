"""How a run stands, from what its folder holds and which locks are taken: no record can claim that a dead process lives."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.runs.amounts import duration_text
from dapoctl.runs.attempts import EXIT, HEARTBEAT, LOCK, PROCESS, WRITER, attempts, read_activity, read_stop
from dapoctl.runs.files import read_json
from dapoctl.runs.locks import is_locked

ENDED = ("finished", "failed", "stopped")
ALIVE = ("starting", "running", "stopping", "stalled")
STATES = ("queued", *ALIVE, *ENDED, "lost")
SILENCE = 120.0
"""Seconds without a word from the trainer after which a run is called stalled: a batch, a checkpoint, a block of an evaluation
take less"""
LOADING = 300.0
"""The same before the first step, and while a model is loaded: engines compile and read weights without a word"""
LONGER = 5.0
"""A run is not stalled before it is silent for this many times its longest silence so far"""
FRESH = 60.0
"""Seconds in which a run on another machine must have given a sign of life"""


@dataclass(frozen=True)
class Standing:
    """How a run stands."""

    state: str
    why: str = ""
    """In words, where there is more to say: an error, who still runs, since when it is silent"""
    attempt: int = 0
    host: str = ""


def standing(directory: Path, queued: bool = False, now: float | None = None) -> Standing:
    """How the run in `directory` stands.

    Args:
        queued: whether the queue holds a ticket for it
        now: the time, where it is not the clock's
    """
    now = time.time() if now is None else now
    tried = attempts(directory)
    number = int(tried[-1].name) if tried else 0
    if queued and not is_locked(directory / LOCK):
        return Standing("queued", attempt=number)
    if not tried:
        begun = is_locked(directory / LOCK)
        return Standing("starting") if begun else Standing("stopped", "it was never started")
    folder = tried[-1]
    said = read_json(folder / EXIT)
    if isinstance(said, dict):
        state = str(said.get("state", "failed"))
        why = str(said.get("error") or said.get("reason") or "")
        return Standing(state if state in ENDED else "failed", why, number)
    process = read_json(folder / PROCESS)
    host = str(process.get("host", "")) if isinstance(process, dict) else ""
    if is_locked(directory / LOCK):
        return _alive(folder, number, host, now)
    if host and host != socket.gethostname():
        age = now - max(_modified(folder / HEARTBEAT), _modified(directory / "metrics.jsonl"))
        if age < FRESH:
            return Standing("running", f"on {host}", number, host)
        return Standing("lost", f"no sign of life from {host} for {duration_text(age)}", number, host)
    if is_locked(directory / WRITER):
        pid = process.get("pid") if isinstance(process, dict) else None
        return Standing("lost", f"its supervisor is gone, its processes still run (PID {pid})", number, host)
    return Standing("lost", "its process is gone and left no word", number, host)


def _alive(folder: Path, number: int, host: str, now: float) -> Standing:
    if read_stop(folder) is not None:
        return Standing("stopping", attempt=number, host=host)
    activity = read_activity(folder)
    if activity is None:
        silent = now - _modified(folder / PROCESS)
        if silent > LOADING:
            return Standing("stalled", f"no word since it was started {duration_text(silent)} ago", number, host)
        return Standing("starting", attempt=number, host=host)
    silent = activity.silence(now)
    enough = LOADING if activity.phase == "load" or not activity.step else SILENCE
    if silent > max(enough, LONGER * activity.longest):
        return Standing("stalled", f"no word for {duration_text(silent)}, last in: {activity.phase}", number, host)
    return Standing("running", attempt=number, host=host)


def has_writer(directory: Path) -> bool:
    """Whether a process trains this run now, supervised or not."""
    return is_locked(directory / WRITER) or is_locked(directory / LOCK)


def processes_of(directory: Path) -> tuple[str, list[dict[str, Any]]]:
    """(the mark of the last attempt's processes, the identities that it recorded)."""
    tried = attempts(directory)
    process = read_json(tried[-1] / PROCESS) if tried else None
    if not isinstance(process, dict):
        return "", []
    return str(process.get("mark", "")), [process, *([process["supervisor"]] if "supervisor" in process else [])]


def _modified(path: Path) -> float:
    try:
        return os.stat(path).st_mtime  # noqa: PTH116
    except OSError:
        return 0.0
