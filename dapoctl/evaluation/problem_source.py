"""From a name or a file to problems that can be asked and scored; each set has its own instance of its task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.batch import Problem
from dapoctl.components.base import Component, provided_by
from dapoctl.components.catalog import installed
from dapoctl.components.listing import providers_of
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.resolver import build_component
from dapoctl.errors import UserError
from dapoctl.tasks.problem_sets import DATA_TASK, SETS, ProblemSet, content_hash, find_set, unknown_set

FILES = (".jsonl", ".parquet")
SPLIT = "test"
_LABEL = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an evaluation's problems come from, before they are loaded."""

    label: str
    """The set's name in metrics and folders"""
    pipeline: Pipeline
    """The task alone"""
    origin: str
    """The file, the hub's name, or the task"""
    split: str = ""
    """Split of the hub's set or of the task; empty for a file"""

    @property
    def judged_by(self) -> str:
        """The scorer's name; the task's name if it has its own rule."""
        (name,) = self.pipeline.components
        return str(getattr(self.pipeline.components[name], "scorer", name))

    @property
    def instruction(self) -> str:
        """The prompt around each question; empty if the task has its own prompts."""
        (task,) = self.pipeline.components.values()
        return str(getattr(task, "instruction", ""))

    @property
    def accepts(self) -> frozenset[str]:
        """Which of `instruction` and `scorer` the task accepts."""
        (task,) = self.pipeline.components.values()
        return frozenset({"instruction", "scorer"} & type(task).model_fields.keys())

    def load(self, limit: int | None = None) -> list[Problem]:
        """The problems, or the first `limit` of them.

        Raises:
            UserError: they are not available.
        """
        return list(self.pipeline.one("load_problems", split=SPLIT))[:limit]

    def describe(self, problems: Sequence[Problem]) -> dict[str, Any]:
        """The summary's description of the `problems` that are used."""
        return {
            "source": self.origin,
            "split": self.split,
            "sha256": content_hash(problems),
            "problems": len(problems),
            "ids": [problem.id for problem in problems],
        }


def find_source(name: str, data: str, tables: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any]) -> Source:
    """The set called `name`: a known set, a task, or `data`, a file whose set may have any name.

    Args:
        name: empty for the file's own name
        data: a .jsonl or .parquet file, or a hub name; empty for the set's own source
        tables: the parameters of each task, by its name
        asked: how math problems are asked and scored: `instruction`, `scorer`, if given

    Raises:
        UserError: no such set, or a name that cannot be a folder's.
    """
    if data:
        label = name or re.sub(r"[^\w.-]+", "_", Path(data).stem, flags=re.ASCII).lstrip("_.-")
        return _math(check_label(label), data, _columns(find_set(label), data), asked)
    if not name:
        raise UserError(f"which set? --task NAME, one of {', '.join(SETS)}; or a file with --data FILE")
    known = find_set(name)
    if known is not None and known.task == DATA_TASK:
        return _math(name, name, {}, asked, known)
    if Path(name).suffix in FILES:
        return find_source("", name, tables, asked)
    return _task(name, tables.get(name, {}), asked)


def check_label(label: str) -> str:
    """`label`, if it is a valid folder name.

    Raises:
        UserError: it is not.
    """
    if not _LABEL.fullmatch(label):
        raise UserError(f"the set's name {label!r} must be letters, digits, `.`, `_` and `-`, a letter or digit first")
    return label


def _math(
    label: str, data: str, columns: Mapping[str, Any], asked: Mapping[str, Any], known: ProblemSet | None = None
) -> Source:
    table = {"test_data": data, **columns, **asked}
    pipeline = alone(DATA_TASK, build_component(DATA_TASK, installed().find(DATA_TASK).load(), table))
    if known is not None:
        return Source(label, pipeline, known.hub, known.split(SPLIT))
    path = Path(data).expanduser()
    return Source(label, pipeline, str(path.resolve()) if path.exists() else data, "" if path.exists() else SPLIT)


def _columns(known: ProblemSet | None, data: str) -> dict[str, str]:
    """A file of a known set may have the columns of its hub; the first row decides."""
    from dapoctl.tasks.read_problems import read_rows

    if known is None or (known.problem, known.answer) == ("problem", "answer"):
        return {}
    _, first = next(read_rows(data, SPLIT), ("", {}))
    if isinstance(first, dict) and known.problem in first and "problem" not in first:
        return {"problem_field": known.problem, "answer_field": known.answer}
    return {}


def _task(name: str, table: Mapping[str, Any], asked: Mapping[str, Any]) -> Source:
    catalog = installed()
    tasks = providers_of("score_response", catalog)
    if name not in tasks:
        raise unknown_set(name, tasks)
    cls = catalog.find(name).load()
    if "load_problems" not in provided_by(cls):
        raise UserError(f"`{name}` has no problems of its own: it does not provide load_problems")
    own = {key: value for key, value in asked.items() if key in cls.model_fields}
    return Source(name, alone(name, build_component(name, cls, {**table, **own})), name, SPLIT)


def alone(name: str, task: Component) -> Pipeline:
    """A pipeline with only the task."""
    task.attach(name)
    return Pipeline([task])
