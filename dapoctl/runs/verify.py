"""Checking a store: what of each run and of its checkpoints is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dapoctl.errors import StorageError
from dapoctl.runs.checkpoints import damage_of, newest_first, step_of
from dapoctl.runs.files import JsonLines
from dapoctl.runs.manifest import is_sealed
from dapoctl.runs.remove import size_of
from dapoctl.runs.summary import METRICS, read_record

WHOLE, DAMAGED, UNVERIFIED = "whole", "damaged", "unverified"
LINES = (METRICS, "events.jsonl")


@dataclass(frozen=True)
class Finding:
    """What was found out about a run's record, or about one of its checkpoints."""

    run: str
    step: int | None
    """Of the checkpoint; None for the run's record"""
    state: str
    """whole, damaged, or unverified: written without a manifest, so that only damage to its form can be seen"""
    size: int = 0
    """Bytes"""
    problem: str = ""
    """What is damaged"""


def verify(directory: Path) -> Iterator[Finding]:
    """The run's record, then each checkpoint from the last to the first, read to the last byte."""
    problem = read_record(directory).problem or _damaged_line(directory)
    yield Finding(directory.name, None, DAMAGED if problem else WHOLE, problem=problem)
    try:
        for path in newest_first(directory):
            problem, sealed, size = damage_of(path), is_sealed(path), size_of(path)
            # One of a run that goes on may have been deleted meanwhile.
            if path.is_dir():
                state = DAMAGED if problem else WHOLE if sealed else UNVERIFIED
                yield Finding(directory.name, step_of(path), state, size, problem)
    except StorageError as error:
        yield Finding(directory.name, None, DAMAGED, problem=str(error))


def _damaged_line(directory: Path) -> str:
    for name in LINES:
        try:
            for line in JsonLines(directory / name).read():
                if line.value is None:
                    return f"{name}: line {line.number} is damaged"
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return ""
