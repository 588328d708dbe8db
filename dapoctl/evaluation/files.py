"""Readers of an evaluation's files in any state: what is wrong is reported in words, nothing is raised."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dapoctl.runs.files import SCHEMA, JsonLines, parse_object

SAMPLES, SUMMARY = "samples.jsonl", "summary.json"
KIND = "eval"
LONGEST_HEADER = 2**20
"""Bytes"""


def read_summary(path: Path) -> tuple[dict[str, Any], list[str]]:
    """(the summary, what is wrong with it)."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, [f"no {SUMMARY}"]
    except OSError as error:
        return {}, [f"{SUMMARY} cannot be read: {error.strerror}"]
    except (ValueError, RecursionError):
        return {}, [f"{SUMMARY} is damaged"]
    if not isinstance(found, dict):
        return {}, [f"{SUMMARY} is not a summary"]
    if isinstance(found.get("schema"), int) and found["schema"] > SCHEMA:
        return {}, [f"{SUMMARY} was written by a newer dapoctl (schema {found['schema']}, this one reads {SCHEMA})"]
    return found, []


def read_rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """Every response, None for a damaged line; a file that cannot be read has none."""
    with contextlib.suppress(OSError):
        for line in JsonLines(path).read():
            if line.value is None or "schema" not in line.value:
                yield _checked(line.value)


def _checked(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """The row with a value of the right type for every field, or None if it is not a response."""
    if row is None:
        return None
    problem, sample, correct = row.get("problem"), row.get("sample"), row.get("correct")
    if not isinstance(problem, str) or type(sample) is not int or sample < 0 or not isinstance(correct, bool):
        return None
    tokens = row.get("tokens")
    text = {key: str(row.get(key, "")) for key in ("prompt", "answer", "response")}
    extracted = row.get("extracted")
    return text | {
        "problem": problem,
        "sample": sample,
        "correct": correct,
        "outcome": str(row.get("outcome", "right" if correct else "wrong")),
        "extracted": None if extracted is None else str(extracted),
        "tokens": tokens if isinstance(tokens, (int, float)) and not isinstance(tokens, bool) else math.nan,
        "truncated": row.get("truncated") is True,
        "marked": row["marked"] if isinstance(row.get("marked"), bool) else None,
    }


def samples_trouble(path: Path, set_: str) -> str:
    """Why the file does not hold the responses of an evaluation on `set_`; empty if it seems to."""
    try:
        with path.open("rb") as file:
            first = file.readline(LONGEST_HEADER)
    except FileNotFoundError:
        return f"no {SAMPLES}"
    except OSError as error:
        return f"{SAMPLES} cannot be read: {error.strerror}"
    if not first.strip():
        return f"{SAMPLES} is empty"
    header = parse_object(first)
    if header is None or "schema" not in header:
        return f"{SAMPLES} has no header: it is not an evaluation's"
    if not isinstance(header["schema"], int) or header["schema"] > SCHEMA:
        return f"{SAMPLES} was written by a newer dapoctl (schema {header['schema']}, this one reads {SCHEMA})"
    if header.get("kind") != KIND:
        return f"{SAMPLES} is of kind `{header.get('kind')}`, not `{KIND}`"
    if header.get("set", set_) != set_:
        return f"{SAMPLES} is of the set `{header.get('set')}`"
    return ""
