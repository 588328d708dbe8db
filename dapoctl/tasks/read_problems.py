"""Problems from a JSONL or parquet file, or from a set on the hub. Every error says where and what to change."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dapoctl.batch import Problem
from dapoctl.errors import DataError, RunWarning
from dapoctl.tasks.problem_sets import ProblemSet
from dapoctl.tasks.rows import is_chat, kind, read_rows

SHOWN = 5
"""Answers that cannot be read which the warning quotes"""
_SURROGATE = re.compile("[\ud800-\udfff]")
# DAPO-Math-17k also circulates with a prompt around each question.
_ASKED_BEFORE = re.compile(
    r"\ASolve the following math problem step by step\..*?is the answer to the problem\.\s*", re.DOTALL
)
_ASKED_AFTER = re.compile(r"\s*Remember to put your answer on its own line after \"Answer:\"\.\s*\Z")
# ASDiv's: 17 (years old); 12 (years old)
_UNIT = re.compile(r"\s*\([^()]*\)")


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
    An answer that holds a worked solution ending in `#### 72` (GSM8K's form) counts as what follows the mark, and is kept whole
    as `meta["solution"]`.
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
            raise DataError(f"{where}: expected an object with `{problem_field}` and `{answer_field}`, got {kind(row)}")
        question = _text(row, problem_field, where, f"{option}.problem_field", numbers=False)
        answer = _text(row, answer_field, where, f"{option}.answer_field", numbers=True)
        given = row.get("id", f"row-{number:05d}")
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise DataError(f"{where}: `id` must be text or an integer, got {kind(given)}; fix it or rename the field")
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
        if "####" in answer:
            meta.setdefault("solution", answer)
        problems.append(Problem(unique, prompt, gold, meta))
        if doubt is not None and (why := doubt(gold)):
            doubtful.append(f'{where} (id {unique}): "{_short(gold)}", {why}')
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


def repeats(problems: Sequence[Problem], source: str) -> str:
    """What to say of problems that ask what an earlier one asks, white space aside; empty if there are none."""
    asked: dict[str, Problem] = {}
    again, other = 0, ""
    for problem in problems:
        before = asked.setdefault(" ".join(problem.prompt.split()), problem)
        again += before is not problem
        if before.answer != problem.answer and not other:
            pair = (f"`{one.id}` ({_short(one.answer)})" for one in (before, problem))
            other = f", some of them with another answer, such as {' and '.join(pair)}"
    if not again:
        return ""
    return (
        f"{source}: {again} of {len(problems)} problems ask what an earlier one asks{other}; each counts on its own, so remove"
        " what should not"
    )


def _short(text: str) -> str:
    return text if len(text) <= 20 else text[:17] + "..."


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
    for column in (known.context, known.problem, known.answer):
        if column and column not in row:
            raise DataError(
                f"{where}: the set `{known.name}` has no column `{column}`; its columns are: {', '.join(map(str, row))}"
            )
    question, answer = row[known.problem], row[known.answer]
    if isinstance(question, str):
        question = _ASKED_AFTER.sub("", _ASKED_BEFORE.sub("", question))
        if known.context:
            question = f"{str(row[known.context]).strip()} {question.strip()}"
    if known.units and isinstance(answer, str):
        answer = _UNIT.sub("", answer).strip()
    own = row.get(known.id) if known.id else None
    identity = own if isinstance(own, str) else f"{known.name}-{number if own is None else own:0>2}"
    return {**row, "id": identity, "problem": question, "answer": answer}


def _text(row: Mapping[str, Any], field: str, where: str, option: str, *, numbers: bool) -> str:
    if field not in row:
        known = ", ".join(_named(name, value) for name, value in row.items()) or "none"
        fix = f"Set {option} to the right one"
        if not numbers and any(map(is_chat, row.values())):
            fix = f"A chat cannot be asked: write the question into a field of its own, and set {option} to that"
        raise DataError(f"{where}: no field `{field}`; the fields are: {known}. {fix}")
    value = row[field]
    if is_chat(value) or isinstance(value, Mapping):
        raise DataError(
            f"{where}: `{field}` is {kind(value)}, and must be text: write the {'question' if not numbers else 'answer'} into a"
            f" field of its own, and set {option} to that. The fields are: {', '.join(_named(*item) for item in row.items())}"
        )
    if numbers and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else str(value)
    if not isinstance(value, str):
        allowed = "text or a number" if numbers else "text"
        raise DataError(
            f"{where}: `{field}` must be {allowed}, got {kind(value)}; fix the row or set {option} to another field"
        )
    if not value.strip():
        raise DataError(f"{where}: `{field}` is empty; fill it in or remove the row")
    if lone := _SURROGATE.search(value):
        raise DataError(
            f"{where}: `{field}` has half of a surrogate pair, \\u{ord(lone[0]):04x}, as its character {lone.start() + 1}:"
            " that is no text, and cannot be given to a model; fix or remove the row"
        )
    return value


def _named(name: object, value: Any) -> str:
    """A field, with what is in it where that is neither text nor a number."""
    return f"{name} ({kind(value)})" if is_chat(value) or isinstance(value, Mapping) else str(name)
