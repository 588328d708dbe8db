"""Stores made by code, for tests that look at runs and train none: the files that the trainer would have left."""

from __future__ import annotations

import functools
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dapoctl.config.resolve import load
from dapoctl.runs.files import write_json, write_lines
from dapoctl.runs.jobs.create import create

BEGAN = 1_767_225_600.0
"""The first of January 2026: when the runs of these stores were created, unless they say otherwise"""
MINUTE = 60.0


@functools.cache
def _spec(plugins: tuple[str, ...], steps: int) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        resolved = load([], [f"steps={steps}"], {"plugins": [*plugins]})
        return (create(resolved, Path(scratch, "runs"), ["dapoctl", "run"]) / "spec.json").read_text()


def learning(step: int, speed: float = 1.0) -> dict[str, float]:
    """Metrics of a run that learns."""
    share = 1 - math.exp(-speed * step / 40)
    wave = 0.05 * math.sin(step)
    return {
        "reward/mean": -0.1 + 0.8 * share + wave,
        "score/accuracy": min(1.0, 0.4 + 0.5 * share + wave / 2),
        "groups/kept_fraction": 0.7 - 0.2 * share,
        "response/length_mean": 40 - 8 * share + wave * 10,
        "response/truncated_fraction": 0.02,
        "policy/entropy": 0.6 - 0.4 * share,
        "policy/grad_norm": 0.3 + wave,
    }


def add_run(
    root: Path,
    id: str,  # noqa: A002 (its name in the store)
    plugins: Sequence[str] = (),
    name: str | None = None,
    steps: int = 24,
    done: int | None = None,
    metrics: Callable[[int], Mapping[str, Any]] = learning,
    state: str | None = "finished",
    error: str = "",
    created: float = BEGAN,
    evals: Mapping[str, float] | None = None,
    note: str = "",
    tags: Sequence[str] = (),
    group: str = "",
) -> Path:
    """A run's folder.

    Args:
        done: steps that it has done; all of them by default, a step a second
        state: how its attempt ended; None for one that was never started
        evals: accuracies of its last evaluation by set
    """
    directory = root / id
    spec = json.loads(_spec(tuple(plugins), steps))
    spec |= {"id": id, "created": created, "name": spec["name"] if name is None else name}
    spec["group"] = group
    write_json(directory / "spec.json", spec)
    done = steps if done is None else done
    rows = [{"step": step, "time": created + step, "metrics": dict(metrics(step))} for step in range(1, done + 1)]
    if rows:
        write_lines(directory / "metrics.jsonl", {"kind": "metrics"}, rows)
    for set_, value in (evals or {}).items():
        summary = {"step": done, "metrics": {f"eval/{set_}/avg@1": value}}
        write_json(directory / "evals" / set_ / f"step_{done}" / "summary.json", summary)
    if state is not None:
        ended = {"schema": 1, "state": state, "error": error, "time": created + done}
        write_json(directory / "attempts" / "1" / "exit.json", ended)
    if note or tags:
        write_json(directory / "notes.json", {"schema": 1, "tags": list(tags), "note": note})
    return directory


def many(root: Path, count: int) -> None:
    """A store of `count` finished runs."""
    first = add_run(root, "20260101-000000-many-0000", steps=3)
    for number in range(1, count):
        shutil.copytree(first, root / f"20260101-{number:06}-many-{number:04}")
