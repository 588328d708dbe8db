"""The responses of a step by prompt, without their texts: those are read one at a time, from their places in the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.runs.files import JsonLines, Line, number_or_nan

FOLDER = "samples"


@dataclass(frozen=True)
class Response:
    """What became of a response."""

    place: int
    """Where its row begins in the file, in bytes"""
    tokens: float
    truncated: bool
    outcome: str
    extracted: str | None
    correct: bool
    score: float
    terms: dict[str, float]
    reward: float
    advantage: float | None
    """None where it was not trained on"""
    dropped_by: str
    """Why its group was not kept; empty where it was"""
    masked: bool
    born: int
    """The step in which it was sampled"""


@dataclass
class Group:
    """The responses to a prompt."""

    problem: str
    round: int
    prompt: str
    answer: str
    responses: list[Response] = field(default_factory=list)

    @property
    def right(self) -> int:
        """How many are right."""
        return sum(response.correct for response in self.responses)

    @property
    def dropped_by(self) -> str:
        """Why it was not kept; empty where it was."""
        return self.responses[0].dropped_by if self.responses else ""


@dataclass
class Step:
    """The groups of a step, in the order of the file."""

    groups: list[Group] = field(default_factory=list)
    trouble: str = ""
    """What is wrong with the file, in words"""


def steps_of(directory: Path) -> list[int]:
    """The steps whose responses are there, in order."""
    try:
        names = os.listdir(directory / FOLDER)  # noqa: PTH208
    except OSError:
        return []
    found = [name[5:-6] for name in names if name.startswith("step_") and name.endswith(".jsonl")]
    return sorted(int(text) for text in found if text.isdecimal() and len(text) < 12)


def path_of(directory: Path, step: int) -> Path:
    """The file of a step."""
    return directory / FOLDER / f"step_{step}.jsonl"


def read_step(path: Path, goes_on: Callable[[], bool] = lambda: True) -> Step:
    """Every row of a file; what is damaged is left out and counted, nothing is raised."""
    found, damaged, lines = Step(), 0, JsonLines(path)
    try:
        for line in lines.read():
            if not goes_on():
                break
            damaged += not _take(found.groups, line)
        if lines.torn:
            found.trouble = "the last row is not whole"
    except OSError as error:
        found.trouble = f"{path.name} cannot be read: {error.strerror}"
    if damaged:
        found.trouble = f"{damaged} damaged row{'s' * (damaged > 1)} left out"
    return found


def _take(groups: list[Group], line: Line) -> bool:
    """Add a row to its group; whether it is one of this file."""
    row = line.value
    if row is None:
        return False
    if "schema" in row:
        return True
    if not isinstance(row.get("response"), str):
        return False
    problem, round_ = str(row.get("problem", "")), _whole(row.get("round"))
    last = groups[-1] if groups else None
    if (
        last is None
        or (last.problem, last.round) != (problem, round_)
        or last.responses[0].born != _whole(row.get("step"))
    ):
        last = Group(problem, round_, str(row.get("prompt", "")), str(row.get("answer", "")))
        groups.append(last)
    last.responses.append(_response(row, line.place))
    return True


def _response(row: dict[str, Any], place: int) -> Response:
    terms = row.get("terms")
    extracted, dropped, advantage = row.get("extracted"), row.get("dropped_by"), row.get("advantage")
    return Response(
        place=place,
        tokens=number_or_nan(row.get("tokens")),
        truncated=row.get("truncated") is True,
        outcome=str(row.get("outcome", "")),
        extracted=None if extracted is None else str(extracted),
        correct=row.get("correct") is True,
        score=number_or_nan(row.get("score")),
        terms={str(name): number_or_nan(value) for name, value in terms.items()} if isinstance(terms, dict) else {},
        reward=number_or_nan(row.get("reward")),
        advantage=None if advantage is None else number_or_nan(advantage),
        dropped_by="" if dropped is None else str(dropped),
        masked=row.get("masked") is True,
        born=_whole(row.get("step")),
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else -1


def read_text(path: Path, place: int) -> str:
    """The response whose row begins at `place`; empty where it is not there any more."""
    try:
        line = next(JsonLines(path, place).read(), None)
    except OSError:
        line = None
    return str(line.value.get("response", "")) if line and line.value else ""
