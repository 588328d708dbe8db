"""One reader for every JSON-lines file: from any place, in a file that grows, with one rule for the last line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dapoctl.errors import StorageError
from dapoctl.runs.files import JsonLines, LineWriter, last_row, read_lines

DAMAGED = b'rubbish\n\n[1]\n{"n": 2}\n' + b"[" * 100_000 + b'\n\xff\xfe\n  \n{"n": 3}\n'


def values(lines: JsonLines) -> list[object]:
    return [line.value and line.value["n"] for line in lines.read()]


def test_damaged_lines_are_told_and_blank_ones_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(DAMAGED)
    found = [*JsonLines(path).read()]
    assert [(line.value, line.number) for line in found] == [
        (None, 1), (None, 3), ({"n": 2}, 4), (None, 5), (None, 6), ({"n": 3}, 8)
    ]  # fmt: skip
    for line in found:
        (first, *_) = JsonLines(path, line.place).read()
        assert (first.value, first.place) == (line.value, line.place)
    assert [row["n"] for row in read_lines(path)] == [2, 3]


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "without its end"])
def test_every_reader_takes_a_whole_last_line(tmp_path: Path, ended: bool) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1}\n{"n": {"m": "}"}}' + "\n" * ended)
    lines = JsonLines(path)
    assert values(lines) == [1, {"m": "}"}]
    assert not lines.torn
    assert lines.place == path.stat().st_size
    assert len([*read_lines(path)]) == 2
    assert last_row(path, lambda _row: True) == {"n": {"m": "}"}}


def test_no_part_of_a_row_is_ever_taken(tmp_path: Path) -> None:
    """Read after every byte that is written: each row comes once, when it is whole."""
    path = tmp_path / "rows.jsonl"
    rows = [{"n": 1}, {"n": {"deep": [1, {"a": "} \u00e9\n"}]}}, {"n": -12.5}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    lines, found = JsonLines(path), []
    with path.open("wb", buffering=0) as file:
        for place in range(len(text)):
            file.write(text[place : place + 1])
            found += values(lines)
            assert lines.torn == (lines.place < place + 1)
            assert found == [row["n"] for row in rows][: len(found)]
            assert last_row(path, lambda _row: True) == ({"n": found[-1]} if found else None)
    assert found == [row["n"] for row in rows]
    assert lines.place == len(text)


def test_what_is_read_later_is_what_was_added(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1}\n{"n"')
    lines = JsonLines(path)
    assert (values(lines), lines.torn) == ([1], True)
    assert values(lines) == []
    with path.open("a") as file:
        file.write(': 2}\n{"n": 3}')
    assert (values(lines), lines.torn) == ([2, 3], False)
    with path.open("a") as file:
        file.write("\n")
    assert values(lines) == []


def test_a_reader_goes_on_after_the_line_it_was_left_at(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    lines = JsonLines(path)
    assert next(lines.read()).value == {"n": 1}
    assert values(lines) == [2, 3]


def test_a_writer_never_replaces_what_it_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.mkdir()
    with pytest.raises(StorageError):
        LineWriter(path, {"kind": "x"})
    assert [*read_lines(path)] == []
    assert [*read_lines(tmp_path / "none")] == []
    with pytest.raises(FileNotFoundError):
        next(JsonLines(tmp_path / "none").read())
