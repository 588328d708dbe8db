"""The lines of a log around a place, which a screen holds."""

from __future__ import annotations

from dataclasses import dataclass

from dapoctl.runs.logfile import Kept, LogFile, Row

AROUND = 300
"""Lines that are held before and after the place"""


@dataclass(frozen=True)
class Window:
    """Lines around a place."""

    rows: list[Row]
    place: int
    at_start: bool
    at_end: bool
    number: int | None
    """Of the first line; None where nobody has counted yet, or lines are left out"""


def read_window(log: LogFile, kept: Kept | None, place: int | None) -> Window:
    """The lines around `place`, or the last ones where it is None; of those that are kept, where not all are."""
    log.look()
    source, at = kept or log, log.size if place is None else min(place, log.size)
    before, after = source.before(at, AROUND), source.after(at, AROUND)
    rows = before + after
    number = log.number_of(rows[0].start) if rows and kept is None else None
    at_start, at_end = len(before) < AROUND, len(after) < AROUND
    return Window(rows, rows[-1].start if place is None and rows else at, at_start, at_end, number)
