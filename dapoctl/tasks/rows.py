"""Rows of a data file, or of a set on the hub, one after another. Every error says where and what to change."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dapoctl.errors import DataError, nearest
from dapoctl.tasks.problem_sets import SETS

HUB_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?::(?P<config>[\w.-]+))?")
FILE_ENDINGS = (".jsonl", ".json", ".ndjson", ".parquet", ".csv", ".tsv", ".txt", ".xlsx", ".gz", ".zst", ".zip")
BATCH = 256
"""Rows of a parquet file that are read at once"""
_CONVERT = {
    ".csv": "python -c 'import sys, pandas; pandas.read_csv(sys.argv[1]).to_json(sys.argv[2], orient=\"records\", lines=True)'",
    ".tsv": "python -c 'import sys, pandas;"
    ' pandas.read_csv(sys.argv[1], sep="\\t").to_json(sys.argv[2], orient="records", lines=True)\'',
}
_PACKED = {".gz": "gunzip --keep", ".zst": "zstd --decompress", ".zip": "unzip"}


def read_rows(source: str, split: str) -> Iterator[tuple[str, Any]]:
    """Each row with its location for error messages, `file.jsonl:17`. `split` applies to hub names only.

    A hub name (`owner/name`, with a configuration `owner/name:config`) is tried only when there is no such file.

    Raises:
        DataError: the source does not exist, cannot be read, or a line of it is not JSON.
    """
    path = check_source(source)
    if path is not None:
        yield from _parquet(path) if path.suffix == ".parquet" else _jsonl(path)
        return
    match = HUB_NAME.fullmatch(source)
    assert match is not None
    yield from _hub(match["name"], match["config"], split)


def check_source(source: str) -> Path | None:
    """The file that `source` names, or None if it is a name on the hub, where nothing is looked up.

    Raises:
        DataError: it is neither, or a file of a kind that is not read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        raise DataError(f"{source} is a folder; name a .jsonl or .parquet file in it")
    if path.is_file():
        _check_kind(path)
        return path
    match = HUB_NAME.fullmatch(source)
    if match is None or source.lower().endswith(FILE_ENDINGS):
        raise DataError(f"no such file: {source} (looked in {Path.cwd()}); give a path to a .jsonl or .parquet file")
    if "/" not in match["name"] and (close := nearest(match["name"], [*SETS])):
        raise DataError(
            f"there is neither a file {match['name']} here nor a set of that name.{close} Known: {', '.join(SETS)}"
        )
    return None


def _check_kind(path: Path) -> None:
    ending = path.suffix.lower()
    if command := _CONVERT.get(ending):
        target = shlex.quote(str(path.with_suffix(".jsonl")))
        raise DataError(
            f"{path} is a table of {ending[1:].upper()}, which is not read; write it as JSON lines:"
            f" {command} {shlex.quote(str(path))} {target}"
        )
    if command := _PACKED.get(ending):
        raise DataError(f"{path} is compressed; unpack it first: {command} {shlex.quote(str(path))}")


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path.name}:{number}", _parse(line, f"{path.name}:{number}", path)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason}); convert it, or name a .parquet file as such"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _parse(line: str, where: str, path: Path) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        hint = ""
        if line.lstrip().startswith("["):
            target = shlex.quote(f"{path.with_suffix('')}-lines.jsonl")
            hint = (
                f"; write one object per line (JSONL), not one array: jq -c '.[]' {shlex.quote(str(path))} > {target}"
            )
        elif not line.lstrip().startswith("{"):
            hint = '; every line must be an object, such as {"problem": "1+1?", "answer": "2"}'
        raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}{hint}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON that can be read: {error}") from None


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}: row {number}", row
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is not a parquet file that can be read: {_first_line(error)}") from None


def _hub(name: str, config: str | None, split: str) -> Iterator[tuple[str, Any]]:
    import datasets

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


def kind(value: Any) -> str:
    """A value's type and its beginning, for messages: a chat and a table by the names that are in them."""
    if is_chat(value):
        return f"a chat of {len(value)} message{'s' if len(value) > 1 else ''}"
    if isinstance(value, Mapping):
        return f"a table of {', '.join(map(str, value)) or 'nothing'}"
    shown = json.dumps(value, default=str)
    return f"{type(value).__name__} {shown if len(shown) <= 40 else shown[:37] + '...'}"


def is_chat(value: Any) -> bool:
    """Whether a value is a list of messages, each with `role` and `content`."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, Mapping) and {"role", "content"} <= message.keys() for message in value)
    )
