"""A log as lines by place, against the plain splitting of its bytes."""

from __future__ import annotations

import bisect
import os
import random
import re
import time
from pathlib import Path

import pytest

from dapoctl.runs import logfile
from dapoctl.runs.logfile import ERROR, Kept, LogFile, Row, searched

PIECES = [
    b"step 1\n",
    b"\n",
    b"10%\r20%\r30%\n",
    b"windows\r\n",
    b"\r\n",
    b"\xff\xfe\x00\n",
    "é∑\n".encode(),
    b"x" * 300 + b"\n",
    b"Traceback (most recent call last)\n",
    b"a\rb\r\n",
    b"\x1b[31mred\x1b[0m\n",
    b"[/boxed]\n",
]


def reference(data: bytes) -> list[tuple[int, str]]:
    """(place, what is left on the screen) of every line."""
    found, place = [], 0
    for line in data.splitlines(keepends=True) if b"\r" not in data else re.findall(rb"[^\n]*\n|[^\n]+\Z", data):
        text = line.removesuffix(b"\n")
        while text.endswith(b"\r"):
            text = text[:-1]
        found.append((place, text.split(b"\r")[-1].decode("utf-8", errors="replace")))
        place += len(line)
    return found


def rows_of(rows: list[Row]) -> list[tuple[int, str]]:
    return [(row.start, row.text) for row in rows]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that every edge is met."""
    monkeypatch.setattr(logfile, "BLOCK", 64)
    monkeypatch.setattr(logfile, "STEP", 16)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(40))
def test_lines_numbers_and_searches_are_those_of_plain_python(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = b"".join(rng.choices(PIECES, k=rng.randrange(60)))
    if seed % 3 == 0:
        data += b"no end yet"
    path = tmp_path / "log"
    path.write_bytes(data)
    log = LogFile(path)
    log.look()
    expected = reference(data)
    starts = [start for start, _ in expected]
    assert rows_of(log.after(0, 1000)) == expected
    assert rows_of(log.before(log.size, 1000)) == expected
    assert log.lines() is None or log.size < 64
    assert log.index()
    assert log.lines() == len(expected)
    for number, (start, _) in enumerate(expected, 1):
        assert log.number_of(start) == number
        assert log.place_of(number) == start
        count = rng.randrange(1, 9)
        assert rows_of(log.after(start, count)) == expected[number - 1 :][:count]
        assert rows_of(log.before(start, count)) == expected[: number - 1][-count:]
    for place in range(len(data)):
        assert log.start_of(place) == starts[bisect.bisect_right(starts, place) - 1]
    for words in ("30%", "step", "TRACE", "nothing like it", "b"):
        sought = searched(words)
        fold = words == words.lower()
        fits = [start for start, text in expected if words in (text.lower() if fold else text)]
        kept = Kept(log, sought)
        kept.update()
        assert [*kept.starts] == fits
        assert rows_of(kept.after(0, 1000)) == [row for row in expected if row[0] in fits]
        for start in starts:
            assert log.find(sought, start) == next((fit for fit in fits if fit >= start), None)
            assert log.find(sought, start, back=True) == next((fit for fit in reversed(fits) if fit < start), None)


@pytest.mark.usefixtures("small")
def test_a_log_that_grows_shrinks_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path)
    assert not log.look()
    assert log.after(0, 5) == []
    assert log.lines() == 0
    path.write_bytes(b"one\ntwo err")
    assert log.look()
    kept = Kept(log, searched("err"))
    kept.update()
    assert rows_of(kept.after(0, 5)) == [(4, "two err")]
    with path.open("ab") as file:
        file.write(b"or\nthree err\n" + b"filler\n" * 40)
    assert log.look()
    log.index()
    assert log.lines() == 43
    assert kept.update()
    assert rows_of(kept.after(0, 5)) == [(4, "two error"), (14, "three err")]
    assert rows_of(log.before(log.size, 1)) == [(log.size - 7, "filler")]
    before = log.generation
    path.write_bytes(b"anew\n")
    assert log.look()
    assert log.generation == before + 1
    log.index()
    assert (log.lines(), rows_of(log.after(0, 5))) == (1, [(0, "anew")])
    assert kept.update()
    assert not kept.starts
    other = tmp_path / "other"
    other.write_bytes(b"as long\nas it was before, and then some\n")
    os.replace(other, path)  # noqa: PTH105
    assert log.look()
    assert log.generation == before + 2
    assert log.after(0, 1)[0].text == "as long"
    path.unlink()
    assert log.look()
    assert log.after(0, 5) == []
    assert not kept.update() or not kept.starts


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [65, 640, 5000])
def test_lines_longer_than_a_block(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"short\n" + b"y" * size + b"needle\nlast\n")
    log = LogFile(path)
    log.look()
    assert [row.start for row in log.after(0, 9)] == [0, 6, size + 13]
    assert [row.start for row in log.before(log.size, 9)] == [0, 6, size + 13]
    assert log.find(searched("needle"), 0) == 6
    assert log.find(searched("needle"), log.size, back=True) == 6
    log.index()
    assert log.place_of(3) == size + 13
    monkeypatch.setattr(logfile, "LONGEST", 32)
    assert b"".join(path.read_bytes()[row.start : row.end] for row in log.after(0, 999)) == path.read_bytes()
    assert b"".join(path.read_bytes()[row.start : row.end] for row in log.before(log.size, 999)) == path.read_bytes()


def test_of_a_long_line_its_last_state_or_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    bar = b"".join(b"\r%3d%% of the work" % (n % 100) for n in range(20_000))
    path.write_bytes(bar + b"\n" + b"z" * 300_000 + b"\n")
    log = LogFile(path)
    log.look()
    first, second = log.after(0, 5)
    assert first.text == " 99% of the work"
    assert first.whole
    assert (second.text, second.whole) == ("z" * logfile.SHOWN, False)
    assert log.row(second.start, second.end, most=2**20).text == "z" * 300_000


def test_errors_are_told_from_words() -> None:
    for text in (
        b"Traceback (most recent call last):",
        b"ValueError: no",
        b"torch.OutOfMemoryError: CUDA",
        b"error: no such",
    ):
        assert ERROR.in_text(text), text
    for text in (b"mean squared error 0.3", b"step 1 reward=0.3", b"terrors: none", b"0 errors"):
        assert not ERROR.in_text(text), text


def test_a_gigabyte_opens_at_once(tmp_path: Path) -> None:
    """A sparse file: nothing but its end is ever read."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.seek(2**30)
        file.write(b"\nthe last line\n")
    log = LogFile(path)
    begun = time.perf_counter()
    log.look()
    rows = log.before(log.size, 1)
    assert time.perf_counter() - begun < 0.5
    assert rows[0].text == "the last line"
