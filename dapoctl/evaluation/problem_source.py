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
from dapoctl.errors import DataError, UserError
from dapoctl.runs.inputs import data_files, describe_files
from dapoctl.tasks.problem_sets import DATA_TASK, SETS, ProblemSet, content_hash, find_set, unknown_set
from dapoctl.tasks.rows import FILE_ENDINGS, read_rows

SPLIT = "test"
FIELDS, USUAL = ("problem_field", "answer_field"), ("problem", "answer")
"""The parameters that name a file's fields, and their defaults"""
_LABEL = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an evaluation's problems come from, before they are loaded."""

    label: str
    """The set's name in metrics and folders"""
    pipeline: Pipeline
    """The task, and for a run's own task what wraps it"""
    origin: str
    """The file, the hub's name, or the task"""
    split: str = ""
    """Split of the hub's set or of the task; empty for a file"""

    @property
    def judged_by(self) -> str:
        """The scorer's name, or that of a task with its own rule; `+name` for every component that wraps it."""
        (name,) = self.pipeline.providers("score_response")
        scorer = str(getattr(self._provider("score_response"), "scorer", name))
        return "+".join([scorer, *self.pipeline.wrappers("score_response")])

    @property
    def instruction(self) -> str:
        """The prompt around each question; empty if the task has its own prompts, or they are changed by a component."""
        if self.pipeline.wrappers("load_problems"):
            return ""
        return str(getattr(self._provider("load_problems"), "instruction", ""))

    @property
    def accepts(self) -> frozenset[str]:
        """Which of `instruction` and `scorer` the task accepts."""
        return frozenset({"instruction", "scorer"} & type(self._provider("score_response")).model_fields.keys())

    def _provider(self, hook: str) -> Component:
        (name,) = self.pipeline.providers(hook)
        return self.pipeline.components[name]

    def check_data(self) -> None:
        """Refuse problems that are not there or cannot be read, from the first rows.

        Raises:
            UserError: naming the set.
        """
        try:
            self._provider("load_problems").check_data(SPLIT)
        except UserError as error:
            raise DataError(f"set `{self.label}`: {error}") from error

    def load(self, limit: int | None = None, split: str = SPLIT) -> list[Problem]:
        """The problems of a split of the task, or the first `limit` of them.

        Raises:
            UserError: they are not available.
        """
        return list(self.pipeline.one("load_problems", split=split))[:limit]

    def describe(self, problems: Sequence[Problem]) -> dict[str, Any]:
        """The summary's description of the `problems` that are used."""
        # Those of math problems are in the protocol.
        parameters = {
            name: component.model_dump(mode="json")
            for name, component in self.pipeline.components.items()
            if name != DATA_TASK
        }
        return {
            "source": self.origin,
            "split": self.split,
            "sha256": content_hash(problems),
            "problems": len(problems),
            "ids": [problem.id for problem in problems],
            "files": describe_files(data_files(self.pipeline)),
            **({"parameters": parameters} if parameters else {}),
            **({"fields": fields} if (fields := self._fields()) else {}),
        }

    def _fields(self) -> dict[str, str]:
        """The fields of a file, where they are not the usual ones."""
        giver = self._provider("load_problems")
        found = {key: str(getattr(giver, key, usual)) for key, usual in zip(FIELDS, USUAL, strict=True)}
        return {} if self.split or tuple(found.values()) == USUAL else found


def find_source(name: str, data: str, tables: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any]) -> Source:
    """The set called `name`: a known set, a task, or `data`, a file whose set may have any name.

    Args:
        name: empty for the file's own name
        data: a .jsonl or .parquet file, or a hub name; empty for the set's own source
        tables: the parameters of each task, by its name
        asked: how math problems are asked and scored: `instruction`, `scorer`, and the file's `problem_field`,
            `answer_field`, if given

    Raises:
        UserError: no such set, or a name that cannot be a folder's.
    """
    if data:
        label = name or re.sub(r"[^\w.-]+", "_", Path(data).stem, flags=re.ASCII).lstrip("_.-")
        return _math(check_label(label), data, _columns(find_set(label), data, tables.get(DATA_TASK, {}), asked), asked)
    if not name:
        raise UserError(f"which set? --task NAME, one of {', '.join(SETS)}; or a file with --data FILE")
    known = find_set(name)
    if known is not None and known.task == DATA_TASK:
        return _math(name, name, {}, asked, known)
    if name.lower().endswith(FILE_ENDINGS):
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


def _columns(known: ProblemSet | None, data: str, table: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a file: those that are asked for, else the first pair that its first row has, of the run's own fields,
    those of the known set, `problem` and `answer`."""
    pairs = [tuple(str(table.get(key, usual)) for key, usual in zip(FIELDS, USUAL, strict=True))]
    pairs += [(known.problem, known.answer)] if known is not None else []
    pairs = list(dict.fromkeys([*pairs, USUAL]))
    if len(pairs) == 1 or {*FIELDS} <= asked.keys():
        return {}
    _, first = next(read_rows(data, SPLIT), ("", {}))
    names = {*first} if isinstance(first, dict) else set()
    wanted = [{key: asked.get(key, name) for key, name in zip(FIELDS, pair, strict=True)} for pair in pairs]
    return next((pair for pair in wanted if {*pair.values()} <= names), wanted[0])


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
