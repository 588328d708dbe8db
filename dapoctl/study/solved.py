"""Problems that a run's model solves after training and never did before, and the other way round; and responses at random."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.evaluation.files import SAMPLES, read_rows
from dapoctl.runs.summary import EVALS


@dataclass(frozen=True)
class Solved:
    """A set before training and at a run's last evaluation; "solved" is right at least once in k responses."""

    problems: int
    """That were asked both times"""
    gained: int
    """Solved after, not before"""
    lost: int
    """Solved before, not after"""


def solved(directory: Path) -> dict[str, Solved]:
    """By set that was evaluated before training and after."""
    found = {}
    for folder in sorted((directory / EVALS).glob("*/step_0")):
        last = _last(folder.parent)
        if last is not None:
            before, after = _right(folder), _right(last)
            both = before.keys() & after.keys()
            found[folder.parent.name] = Solved(
                len(both),
                sum(after[problem] > 0 and not before[problem] for problem in both),
                sum(before[problem] > 0 and not after[problem] for problem in both),
            )
    return found


def drawn(directory: Path, number: int, seed: int) -> list[Mapping[str, Any]]:
    """So many responses of the run's last evaluation on the first of its own sets, at random."""
    folder = next(iter(sorted((directory / EVALS).glob("*/step_0"))), None)
    last = _last(folder.parent) if folder is not None else None
    if last is None:
        return []
    rows = [*_rows(last)]
    return random.Random(seed).sample(rows, min(number, len(rows)))


def _last(folder: Path) -> Path | None:
    steps = [path for path in folder.glob("step_*") if path.name[5:].isdecimal() and path.name != "step_0"]
    return max(steps, key=lambda path: int(path.name[5:]), default=None)


def _rows(folder: Path) -> Iterator[Mapping[str, Any]]:
    return (row for row in read_rows(folder / SAMPLES) if row is not None)


def _right(folder: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in _rows(folder):
        counts[row["problem"]] = counts.get(row["problem"], 0) + bool(row["correct"])
    return counts
