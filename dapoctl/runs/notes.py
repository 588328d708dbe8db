"""What people say about a run: tags and a note, in `notes.json`. Whoever changes them holds `.notes.lock`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dapoctl.errors import UserError
from dapoctl.runs.files import SCHEMA, write_json
from dapoctl.runs.locks import locked
from dapoctl.runs.summary import NOTES, SPEC, read_notes

LOCK = ".notes.lock"
TAG = re.compile(r"[^\s,()=<>!~\"']{1,40}")


def change_tags(directory: Path, add: Sequence[str], remove: Sequence[str] = ()) -> tuple[tuple[str, ...], str]:
    """The run's tags and note after the change.

    Raises:
        UserError: not a run, or a tag that a query could not ask for.
    """
    _check(directory)
    for tag in add:
        if not TAG.fullmatch(tag):
            raise UserError(f"tag {tag!r}: a tag is one word without quotes, brackets, commas and signs such as =")
    with locked(directory / LOCK):
        tags, note = read_notes(directory)
        kept = tuple(tag for tag in dict.fromkeys([*tags, *add]) if tag not in remove)
        return _write(directory, kept, note)


def write_note(directory: Path, text: str) -> tuple[tuple[str, ...], str]:
    """The run's tags and note after the change; an empty text takes the note away.

    Raises:
        UserError: not a run.
    """
    _check(directory)
    with locked(directory / LOCK):
        return _write(directory, read_notes(directory)[0], text)


def _check(directory: Path) -> None:
    if not (directory / SPEC).is_file():
        raise UserError(f"`{directory}` has no spec.json: it is not a run")


def _write(directory: Path, tags: tuple[str, ...], note: str) -> tuple[tuple[str, ...], str]:
    write_json(directory / NOTES, {"schema": SCHEMA, "tags": list(tags), "note": note})
    return tags, note
