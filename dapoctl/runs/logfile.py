"""A log of any size as lines, of which only those on the screen are ever read.

A line is known by the place of its first byte. From there its neighbours are found by looking for line ends, so the end of a
file of gigabytes is there at once. Line numbers need an index, the line ends before every block, which is made behind the
screen's back. Nothing is written, nothing is locked: the file may grow, shrink or be replaced while it is looked at.
"""

from __future__ import annotations

import bisect
import itertools
import os
import re
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK = 2**20
"""Bytes between two places of the index, and bytes that are searched between two looks at whether to go on"""
STEP = 2**16
"""Bytes that are read for some lines"""
LONGEST = 8 * 2**20
"""Bytes in which a line must end; a longer one is broken there"""
SHOWN = 2**16
"""Bytes of a long line that are decoded"""
AT_ONCE = 1000
"""Lines that are read at a time while a log is followed"""
POLL = 0.2
"""Seconds between two looks at a log that is followed"""
MOST_KEPT = 2_000_000
"""Lines that a filter keeps, the first ones"""


class Sought:
    """What is searched for. A pattern is slow on gigabytes, so only lines with one of some plain pieces are held to it."""

    def __init__(self, pattern: re.Pattern[bytes], pieces: Sequence[bytes], fold: bool = False) -> None:
        """With `fold` the pieces, in small letters, stand for capitals too."""
        self.pattern, self.pieces, self.fold = pattern, pieces, fold

    def in_text(self, text: bytes) -> bool:
        """Whether it is in a line."""
        return self.pattern.search(text) is not None

    def lines(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(start, end) of the lines of `data` that are worth a closer look, in order."""
        folded = data.lower() if self.fold else data
        places = dict.fromkeys(self.pieces, -1)
        at = 0
        while at < len(data):
            for piece, place in places.items():
                if place < at:
                    found = folded.find(piece, at)
                    places[piece] = found if found >= 0 else len(data)
            place = min(places.values())
            if place >= len(data):
                return
            start = data.rfind(b"\n", at, place) + 1 or at
            at = data.find(b"\n", place) + 1 or len(data)
            yield start, at


ERROR = Sought(
    re.compile(
        rb"Traceback \(most recent call last\)|\b[A-Za-z_.]*(?:Error|Exception)\b|\b(?:error|ERROR|FATAL|fatal):"
    ),
    (b"Traceback (", b"Error", b"Exception", b"error:", b"ERROR:", b"FATAL:", b"fatal:"),
)
"""What a program says when it goes wrong"""


def searched(words: str) -> Sought:
    """What `words` ask for, literally; small letters stand for capitals too, as in less -i."""
    piece, fold = words.encode("utf-8", errors="replace"), words == words.lower()
    return Sought(re.compile(re.escape(piece), re.IGNORECASE if fold else 0), (piece,), fold)


@dataclass(frozen=True)
class Row:
    """A line."""

    start: int
    """Place of its first byte"""
    end: int
    """Place after its line end, or the end of what is there"""
    text: str
    """As it stands on a screen in the end: what carriage returns took back is gone"""
    whole: bool = True
    """Whether `text` is all of it"""


class LogFile:
    """One file. Threads may call it; `index` only one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.generation = 0
        """Changes when the file was replaced or shrank: every place is void then"""
        self._identity: tuple[int, int] | None = None
        self._counts = array("Q", [0])
        """Line ends before block 0, 1, 2, ..."""

    def look(self) -> bool:
        """Ask how large the file is; whether that has changed. A missing file is an empty one."""
        try:
            found = os.stat(self.path)  # noqa: PTH116
            identity, size = (found.st_dev, found.st_ino), found.st_size
        except OSError:
            identity, size = None, 0
        if identity != self._identity or size < self.size:
            changed = identity != self._identity or size != self.size
            self.generation += self._identity is not None
            self._identity, self.size, self._counts = identity, size, array("Q", [0])
            return changed
        changed = size != self.size
        self.size = size
        return changed

    @property
    def exists(self) -> bool:
        """Whether there was a file when it was last looked at."""
        return self._identity is not None

    # Lines around a place.

    def after(self, place: int, count: int, most: int = SHOWN) -> list[Row]:
        """Up to `count` lines from `place` on, which must be the start of one."""
        rows: list[Row] = []
        for start, end in self._spans(place):
            rows.append(self.row(start, end, most))
            if len(rows) >= count:
                break
        return rows

    def before(self, place: int, count: int, most: int = SHOWN) -> list[Row]:
        """Up to `count` lines that end at or before `place`, which must be the start of one or the end of the file."""
        places = [place, *itertools.islice(self._starts(place - 1), count)][::-1] if place > 0 else []
        return [self.row(start, end, most) for start, end in itertools.pairwise(places)]

    def start_of(self, place: int) -> int:
        """The start of the line that the byte at `place` is part of."""
        return next(self._starts(place), 0)

    def _starts(self, place: int) -> Iterator[int]:
        """The start of the line that the byte at `place` is part of, of the line before, and so on."""
        data, base = b"", place
        while place >= 0:
            found = data.rfind(b"\n", 0, max(0, place - base))
            floor = max(0, place - LONGEST)
            if found < 0 and base > floor:
                begin = max(floor, base - (STEP if place - base < STEP else BLOCK))
                data, base = self._read(begin, base - begin) + data[: place - base], begin
                continue
            start = base + found + 1 if found >= 0 else floor
            yield start
            place = start - 1

    def _spans(self, place: int) -> Iterator[tuple[int, int]]:
        """(start, end) of each line from `place` on."""
        start, data, base = place, b"", place
        while start < self.size:
            found = data.find(b"\n", start - base)
            if found < 0 and base + len(data) < self.size and base + len(data) - start < LONGEST:
                kept = data[start - base :]
                more = self._read(start + len(kept), STEP if len(kept) < STEP else BLOCK)
                data, base = kept + more, start
                if not more:
                    return
                continue
            end = base + found + 1 if found >= 0 else base + len(data)
            yield start, end
            start = end

    def row(self, start: int, end: int, most: int = SHOWN) -> Row:
        """The line from `start` to `end`; of one that is longer than `most` bytes, its beginning."""
        length = end - start
        if length <= most:
            return Row(start, end, decode(self._read(start, length).removesuffix(b"\n")))
        tail = self._read(end - most, most).removesuffix(b"\n").rstrip(b"\r")
        if b"\r" in tail:
            return Row(start, end, decode(tail))
        return Row(start, end, decode(self._read(start, most)), whole=False)

    def _read(self, place: int, count: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(place)
                return file.read(count)
        except OSError:
            return b""

    # Line numbers.

    def index(self, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Count line ends as far as whole blocks go; whether all of them are counted."""
        counts, generation = self._counts, self.generation
        try:
            with self.path.open("rb") as file:
                file.seek((len(counts) - 1) * BLOCK)
                while not cancelled() and generation == self.generation and len(counts) * BLOCK <= self.size:
                    data = file.read(BLOCK)
                    if len(data) < BLOCK:
                        return False
                    counts.append(counts[-1] + data.count(b"\n"))
        except OSError:
            return False
        return len(counts) * BLOCK > self.size

    @property
    def indexed(self) -> bool:
        """Whether every whole block is counted."""
        return len(self._counts) * BLOCK > self.size

    def number_of(self, place: int) -> int | None:
        """The number of the line at `place`, from 1; None where nobody has counted so far yet."""
        block = place // BLOCK
        if block >= len(self._counts):
            return None
        return self._counts[block] + self._read(block * BLOCK, place - block * BLOCK).count(b"\n") + 1

    def lines(self) -> int | None:
        """How many there are; None while that is being counted."""
        if not self.indexed:
            return None
        block = len(self._counts) - 1
        rest = self._read(block * BLOCK, self.size - block * BLOCK)
        last = rest[-1:] if rest else self._read(self.size - 1, 1) if self.size else b"\n"
        return self._counts[block] + rest.count(b"\n") + (last != b"\n")

    def place_of(self, number: int) -> int:
        """Where line `number` begins, counted from 1; the last known line where there are not so many."""
        wanted = max(0, number - 1)
        counts = self._counts
        block = max(0, bisect.bisect_left(counts, wanted) - 1) if wanted else 0
        base = block * BLOCK
        seen, place = counts[block], base
        data = self._read(base, 2 * BLOCK)
        while seen < wanted:
            found = data.find(b"\n", place - base)
            if found < 0 or base + found + 1 >= self.size:
                return self.start_of(max(0, self.size - 1))
            seen, place = seen + 1, base + found + 1
        return place

    def at_share(self, share: float) -> int:
        """The start of the line at this part of the file, 0 to 1."""
        return self.start_of(max(0, min(self.size - 1, int(self.size * share))))

    # Searching.

    def find(self, sought: Sought, place: int, back: bool = False,
             told: Callable[[float], bool] = lambda _share: True) -> int | None:  # fmt: skip
        """The start of the first line from `place` on, or of the last one before it, in whose text `sought` is.

        Args:
            told: told the share that has been looked at, from time to time; it says whether to go on
        """
        for start in self._backward(sought, place, told) if back else self._forward(sought, place, told):
            return start
        return None

    def scan(self, sought: Sought, place: int, end: int) -> tuple[list[int], int]:
        """(the start of every line in whose text `sought` is, the place after) of about BLOCK bytes from `place` on."""
        data = self._read(place, min(BLOCK, end - place))
        cut = len(data) if place + len(data) >= end else data.rfind(b"\n") + 1 or len(data)
        found = self._in_block(sought, place, data[:cut])
        if found[:1] == [place]:
            # The block may begin within a line that is longer than a block.
            found[0] = self.start_of(place)
        return found, place + cut

    def _forward(self, sought: Sought, place: int, told: Callable[[float], bool]) -> Iterator[int]:
        begun, end = place, self.size
        while place < end and told((place - begun) / (end - begun)):
            found, after = self.scan(sought, place, end)
            yield from found
            if after <= place:
                return
            place = after

    def _backward(self, sought: Sought, place: int, told: Callable[[float], bool]) -> Iterator[int]:
        end = place
        while end > 0 and told((place - end) / place):
            start = self.start_of(max(0, end - BLOCK))
            yield from reversed(self._in_block(sought, start, self._read(start, end - start)))
            end = start

    def _in_block(self, sought: Sought, base: int, data: bytes) -> list[int]:
        """The start of each line of `data`, which lies at `base`, in whose text `sought` is."""
        starts = []
        for start, end in sought.lines(data):
            # What a carriage return took back is not on the screen.
            if sought.in_text(data[start:end].rstrip(b"\r\n").rpartition(b"\r")[2]):
                starts.append(base + start)
        return starts


class Kept:
    """The lines of a log that fit a pattern, found bit by bit."""

    def __init__(self, log: LogFile, sought: Sought) -> None:
        self.log, self.sought = log, sought
        self.generation = log.generation
        self.starts = array("Q")
        self.done = 0
        """Bytes that have been looked at"""

    @property
    def full(self) -> bool:
        """Whether it holds as many lines as it can."""
        return len(self.starts) >= MOST_KEPT

    def update(self, told: Callable[[float], bool] = lambda _share: True) -> bool:
        """Look at what was added, and again at a line that had no end yet; whether the lines are others now."""
        before = self.generation, self.starts.tobytes()[-8:], len(self.starts)
        if self.generation != self.log.generation:
            self.generation, self.starts, self.done = self.log.generation, array("Q"), 0
        while self.starts and self.starts[-1] >= self.done:
            self.starts.pop()
        size = self.log.size
        last = self.log.start_of(size) if size else 0
        begun = self.done
        while self.done < last and not self.full and told((self.done - begun) / (last - begun)):
            found, after = self.log.scan(self.sought, self.done, last)
            self.starts.extend(start for start in found if not self.starts or start > self.starts[-1])
            if after <= self.done:
                break
            self.done = after
        if self.done >= last and last < size and not self.full:
            self.starts.extend(self.log.scan(self.sought, last, size)[0][:1])
        return before != (self.generation, self.starts.tobytes()[-8:], len(self.starts))

    def after(self, place: int, count: int) -> list[Row]:
        """Up to `count` kept lines from `place` on."""
        index = bisect.bisect_left(self.starts, place)
        return [row for start in self.starts[index : index + count] for row in self.log.after(start, 1)]

    def before(self, place: int, count: int) -> list[Row]:
        """Up to `count` kept lines before `place`."""
        index = bisect.bisect_left(self.starts, place)
        return [row for start in self.starts[max(0, index - count) : index] for row in self.log.after(start, 1)]


def last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """(the last `count` lines, the place in bytes after them); the line that is being written is not one of them yet.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb"):
        log = LogFile(path)
        log.look()
    end = log.start_of(log.size)
    return [row.text for row in log.before(end, count, LONGEST)], end


def follow(path: Path, place: int, going: Callable[[], bool]) -> Iterator[str]:
    """Lines that are added to the file after `place`, as they come, while `going()` and until what was there then is read.

    A file that shrinks or is replaced is read from its beginning.
    """
    log = LogFile(path)
    log.look()
    generation = log.generation
    while True:
        last = not going()
        log.look()
        if log.generation != generation or log.size < place:
            place, generation = 0, log.generation
        whole = log.size if last else log.start_of(log.size)
        while place < whole and (rows := [row for row in log.after(place, AT_ONCE, LONGEST) if row.end <= whole]):
            yield from (row.text for row in rows)
            place = rows[-1].end
        if last:
            return
        time.sleep(POLL)


def decode(line: bytes) -> str:
    """A line as text; of one that rewrites itself with carriage returns, what is left on the screen."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", errors="replace")
