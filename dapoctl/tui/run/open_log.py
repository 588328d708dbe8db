"""The log of one attempt as its tab holds it: all lines or those with a text, a window of them, and searches. No widget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dapoctl.runs.amounts import byte_size
from dapoctl.runs.logfile import Kept, LogFile, Row, Sought

AROUND = 300
"""Lines that are held before and after a place"""
LONGEST_PAGE = 2**20
"""Bytes of a line that are shown when it is opened"""
Progress = Callable[[float], bool]
"""Is given the share that is done, and says whether to go on"""


@dataclass(frozen=True)
class Window:
    """Lines around a place."""

    rows: list[Row]
    place: int
    at_start: bool
    at_end: bool
    number: int | None
    """Of the first line; None where lines are not counted yet, or left out"""


@dataclass
class Search:
    """What goes on in the log."""

    what: str
    share: float | None = None

    def __str__(self) -> str:
        return self.what if self.share is None else f"{self.what} {100 * self.share:.0f}% (esc gives up)"


class OpenLog:
    """A log; all but the constructor reads files."""

    def __init__(self, attempt: int, path: Path) -> None:
        self.attempt = attempt
        self.file = LogFile(path)
        self.kept: Kept | None = None
        """The lines that are shown, where not all are"""

    def window(self, kept: Kept | None, place: int | None) -> Window:
        """The lines around `place`, or the last ones where it is None; of those that are kept, where not all are."""
        file = self.file
        file.look()
        source, at = kept or file, file.size if place is None else min(place, file.size)
        before, after = source.before(at, AROUND), source.after(at, AROUND)
        rows = before + after
        number = file.number_of(rows[0].start) if rows and kept is None else None
        at_start, at_end = len(before) < AROUND, len(after) < AROUND
        return Window(rows, rows[-1].start if place is None and rows else at, at_start, at_end, number)

    def find(self, sought: Sought, place: int, back: bool, progress: Progress) -> int | None:
        """Where the next line with `sought` begins, from `place` on and then around the other end; None: nowhere."""
        found = self.file.find(sought, place, back, progress)
        if found is None and progress(0.0):
            found = self.file.find(sought, self.file.size if back else 0, back, progress)
        return found

    def place_of_line(self, number: int, progress: Progress) -> int:
        """Where line `number` begins, from 1; the lines are counted first."""
        self.file.index(lambda: not progress(0.0))
        return self.file.place_of(number)

    def whole_line(self, row: Row) -> str:
        """A line, however long it is."""
        whole = self.file.row(row.start, row.end, LONGEST_PAGE)
        return whole.text + ("" if whole.whole else f"\n... ({byte_size(row.end - row.start)} in all)")

    def where(self, row: Row | None, number: int | None) -> str:
        """Where in the log a line is, in words; `number` from 1, if known."""
        size = self.file.size
        if not size:
            return "nothing was said yet" if self.file.exists else "no log: in the foreground it speaks to its terminal"
        share = f"{100 * min(1.0, row.end / size):.0f}%" if row else ""
        in_bytes = byte_size(size, small=True)
        return f"{share} of {in_bytes}" if number is None else f"line {number:,} ({share} of {in_bytes})"
