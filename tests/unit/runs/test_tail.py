"""The end of a log and what is added to it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dapoctl.runs.logfile import follow, last_lines
from tests.support.background import wait_for


@pytest.mark.parametrize("count", [0, 1, 3, 1000, 100_000])
def test_last_lines_are_those_of_the_whole_text(tmp_path: Path, count: int) -> None:
    path = tmp_path / "log"
    lines = [f"line {number} {'x' * (number % 211)}" for number in range(20_000)]
    path.write_text("\n".join(lines) + "\nnot yet")
    found, place = last_lines(path, count)
    assert found == (lines[-count:] if count else [])
    assert path.read_bytes()[place:] == b"not yet"


def test_awkward_logs(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"")
    assert last_lines(path, 5) == ([], 0)
    path.write_bytes(b"no end")
    assert last_lines(path, 5) == ([], 0)
    path.write_bytes(b"\xff\xfe bad\r\n 10%\r 50%\r100%\nlast\n")
    assert last_lines(path, 5)[0] == ["\ufffd\ufffd bad", "100%", "last"]
    with pytest.raises(FileNotFoundError):
        last_lines(tmp_path / "none", 5)


def test_following_sees_every_line_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    going, found = True, []

    def read() -> None:
        found.extend(follow(path, 7, lambda: going))

    reader = threading.Thread(target=read)
    reader.start()
    with path.open("a") as file:
        for number in range(1000):
            file.write(f"{number}\n")
            if number % 100 == 50:
                file.flush()
                os.sched_yield()
        file.write("the end, without a line's")
    going = False
    reader.join(30)
    assert found == [*map(str, range(1000)), "the end, without a line's"]


def test_a_file_that_is_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old line\n")
    going, found = True, []
    reader = threading.Thread(target=lambda: found.extend(follow(path, 9, lambda: going)))
    reader.start()
    other = tmp_path / "other"
    other.write_text("new\n")
    other.replace(path)
    wait_for(lambda: found == ["new"])
    path.write_text("x\n")
    wait_for(lambda: found == ["new", "x"])
    going = False
    reader.join(30)
