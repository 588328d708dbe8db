"""Problems from a JSONL or parquet file, or from a set on the hub. Every error says where and what to change."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dapoctl.batch import Problem
from dapoctl.errors import DataError, RunWarning, nearest
from dapoctl.tasks.problem_sets import SETS, ProblemSet

SHOWN = 5
"""Answers that cannot be read which the warning quotes"""
_HUB_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?::(?P<config>[\w.-]+))?")
_FILE_ENDINGS = (".jsonl", ".json", ".ndjson", ".parquet", ".csv", ".tsv", ".txt", ".gz", ".zst")
# DAPO-Math-17k also circulates with a prompt around each question.
_ASKED_BEFORE = re.compile(
    r"\ASolve the following math problem step by step\..*?is the answer to the problem\.\s*", re.DOTALL
)
_ASKED_AFTER = re.compile(r"\s*Remember to put your answer on its own line after \"Answer:\"\.\s*\Z")


def read_rows(source: str, split: str) -> Iterator[tuple[str, Any]]:
    """Each row with its location for error messages, `file.jsonl:17`. `split` applies to hub names only.

    A hub name (`owner/name`, with a configuration `owner/name:config`) is tried only when there is no such file.

    Raises:
        DataError: the source does not exist, cannot be read, or a line of it is not JSON.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        raise DataError(f"{source} is a folder; name a .jsonl or .parquet file in it")
    if path.is_file():
        yield from _parquet(path) if path.suffix == ".parquet" else _jsonl(path)
        return
    match = _HUB_NAME.fullmatch(source)
    if match is None or source.lower().endswith(_FILE_ENDINGS):
        raise DataError(f"no such file: {source} (looked in {Path.cwd()}); give a path to a .jsonl or .parquet file")
    yield from _hub(match["name"], match["config"], split)


def to_problems(
    rows: Iterable[tuple[str, Any]],
    problem_field: str,
    answer_field: str,
    instruction: str,
    source: str,
    option: str,
    doubt: Callable[[str], str] | None = None,
) -> list[Problem]:
    """Problems with unique ids: the row's `id`, else its number; a repeated id gets `#2`, `#3`, ... in order.

    The question without the instruction is `meta["problem"]`.
    An answer that holds a worked solution ending in `#### 72` (GSM8K's form) counts as what follows the mark.
    `option` is the component's name, for the options that messages name. `doubt` says why an answer cannot be read, empty if
    it can: those that cannot are told in one `RunWarning`.

    Raises:
        DataError: there are no rows, or a row lacks a field or has one of the wrong type.
    """
    problems: list[Problem] = []
    seen: set[str] = set()
    doubtful: list[str] = []
    for number, (where, row) in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(
                f"{where}: expected an object with `{problem_field}` and `{answer_field}`, got {_kind(row)}"
            )
        question = _text(row, problem_field, where, f"{option}.problem_field", numbers=False)
        answer = _text(row, answer_field, where, f"{option}.answer_field", numbers=True)
        given = row.get("id", f"row-{number:05d}")
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise DataError(f"{where}: `id` must be text or an integer, got {_kind(given)}; fix it or rename the field")
        unique, repeat = str(given), 1
        while unique in seen:
            repeat += 1
            unique = f"{given}#{repeat}"
        seen.add(unique)
        meta = {
            key: row[key] for key in row if key not in ("id", answer_field) and isinstance(row[key], str | int | float)
        }
        meta["problem"] = question
        prompt = instruction.replace("{problem}", question)
        gold = answer.rsplit("####", 1)[-1].strip()
        problems.append(Problem(unique, prompt, gold, meta))
        if doubt is not None and (why := doubt(gold)):
            doubtful.append(f"{where} (id {unique}): {_short(gold)}, {why}")
    if not problems:
        raise DataError(
            f"{source} holds no problems; it needs at least one line with `{problem_field}` and `{answer_field}`"
        )
    if doubtful:
        shown = "; ".join(doubtful[:SHOWN]) + ("; ..." if len(doubtful) > SHOWN else "")
        warnings.warn(
            f"{source}: {len(doubtful)} of {len(problems)} answers cannot be read, so that hardly a response to these will be"
            f" right: {shown}. Correct or remove these rows, or set {option}.answer_field to another field",
            RunWarning,
            stacklevel=2,
        )
    return problems


def read_set(known: ProblemSet, purpose: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(location, row) of each problem for "train" or "test"; rows have `id`, `problem`, `answer` and any other columns.

    Raises:
        DataError: the hub cannot be reached, or the set lacks an expected column.
    """
    if not known.hub:
        raise DataError(f"`{known.name}` has no file: it is the task `{known.task}`; use it as `task` or in `eval.set`")
    rows = enumerate(read_rows(known.hub, known.split(purpose)))
    try:
        for number, (where, row) in rows:
            yield where, normalise(known, row, number, where)
    except DataError as error:
        raise DataError(
            f"set `{known.name}`: {error}; `dapoctl eval` takes its problems from a file with --data"
        ) from None


def normalise(known: ProblemSet, row: Mapping[str, Any], number: int, where: str) -> dict[str, Any]:
    """A row of `known` under the names `id`, `problem`, `answer`.

    Raises:
        DataError: it lacks a column.
    """
    for column in (known.problem, known.answer):
        if column not in row:
            raise DataError(
                f"{where}: the set `{known.name}` has no column `{column}`; its columns are: {', '.join(map(str, row))}"
            )
    question = row[known.problem]
    if isinstance(question, str):
        question = _ASKED_AFTER.sub("", _ASKED_BEFORE.sub("", question))
    own = row.get(known.id) if known.id else None
    identity = own if isinstance(own, str) else f"{known.name}-{number if own is None else own:0>2}"
    return {**row, "id": identity, "problem": question, "answer": row[known.answer]}


def _text(row: Mapping[str, Any], field: str, where: str, option: str, *, numbers: bool) -> str:
    if field not in row:
        known = ", ".join(map(str, row)) or "none"
        raise DataError(f"{where}: no field `{field}`; the fields are: {known}. Set {option} to the right one")
    value = row[field]
    if numbers and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else str(value)
    if not isinstance(value, str):
        allowed = "text or a number" if numbers else "text"
        raise DataError(
            f"{where}: `{field}` must be {allowed}, got {_kind(value)}; fix the row or set {option} to another field"
        )
    if not value.strip():
        raise DataError(f"{where}: `{field}` is empty; fill it in or remove the row")
    return value


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {_short(value)}"


def _short(value: Any) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path.name}:{number}", _parse(line, f"{path.name}:{number}")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason}); convert it, or name a .parquet file as such"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        hint = "; write one object per line (JSONL), not one array" if line.lstrip()[:1] in "[" else ""
        raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}{hint}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON that can be read: {error}") from None


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import datasets

    try:
        rows = datasets.Dataset.from_parquet(str(path))
    except Exception as error:  # noqa: BLE001 - `datasets` and pyarrow raise many kinds
        raise DataError(f"{path} is not a parquet file that can be read: {_first_line(error)}") from None
    for number, row in enumerate(rows, 1):
        yield f"{path.name}: row {number}", row


def _hub(name: str, config: str | None, split: str) -> Iterator[tuple[str, Any]]:
    import datasets

    if "/" not in name and (close := nearest(name, [*SETS])):
        raise DataError(f"there is neither a file {name} here nor a set of that name.{close} Known: {', '.join(SETS)}")
    try:
        rows = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # noqa: BLE001 - the hub's, the network's and the set's own errors
        raise DataError(
            f"there is no file {name} here, and the hub's set `{name}`"
            f"{f' ({config})' if config else ''} with split `{split}` cannot be loaded: {_first_line(error)}. "
            "Check the name, the split and the network, add `:config` if the set has several, or use a local file"
        ) from None
    for number, row in enumerate(rows, 1):
        yield f"{name}: row {number}", row


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
