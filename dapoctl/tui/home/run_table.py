"""The table of runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from dapoctl.runs.history import Courses
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.runs.state import ALIVE
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.numbers import age, number, sparkline, time_left
from dapoctl.views.progress import REWARD
from dapoctl.views.runs import COLOURS, called, changes, held_out, held_out_text, state_of, state_text
from dapoctl.views.text import cell, line, middle

SPARK, SPARK_NARROW = 12, 6
TAIL = 5
"""Of a name: what tells it from its namesakes"""


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    title: str
    text: Callable[[RunSummary], str]
    sizes: Mapping[int, int]
    """The column's width by the table's width from which it holds; not shown in a narrower table"""
    right: bool = False
    coloured: bool = False
    """Whether it has the colour of the run's state"""
    tail: int = 0
    """Characters at its end that are never cut off"""

    def width(self, table: int) -> int:
        """Its width in a table of so many columns; 0 where it is not shown."""
        return next((size for least, size in sorted(self.sizes.items(), reverse=True) if table >= least), 0)


class RunTable(VirtualList):
    """Runs, the newest first unless sorted otherwise."""

    def __init__(self, courses: Courses) -> None:
        super().__init__()
        self.courses = courses
        self.runs: list[RunSummary] = []
        self.snapshot = Snapshot()
        self.marked: Collection[str] = ()
        self.baseline: str | None = None
        self._sparks: dict[str, tuple[int, int, str]] = {}
        # At 80 columns a name says what the components do, as long as nobody gave another.
        self._columns = [
            Column("", self._sign, {0: 2}),
            Column("state", state_text, {0: 10, 100: 12}, coloured=True),
            Column("name", called, {0: 14, 60: 19, 110: 24}, tail=TAIL),
            Column("step", _steps, {0: 9, 110: 11}, right=True),
            Column("left", self._left, {78: 7}, right=True),
            Column("reward", self._reward, {70: SPARK_NARROW, 100: SPARK}),
            Column("", lambda run: _number(run.metrics.get(REWARD)), {60: 6}, right=True),
            Column("eval", lambda run: held_out_text(run.metrics), {50: 6}, right=True),
            Column("on", lambda run: self.snapshot.gpus(run.id), {130: 8}),
            Column("age", lambda run: age(run.updated or run.created), {60: 4}, right=True),
            Column("components", changes, {90: 0}),
        ]

    def show(self, runs: Sequence[RunSummary], snapshot: Snapshot) -> None:
        """Draw `runs`; the cursor stays on its run."""
        current = self.current()
        self.runs, self.snapshot = list(runs), snapshot
        place = None
        if current is not None:
            place = next((index for index, run in enumerate(runs) if run.id == current.id), None)
        self.refresh_rows(place)

    def current(self) -> RunSummary | None:
        """The run under the cursor."""
        return self.runs[self.cursor] if 0 <= self.cursor < len(self.runs) else None

    def visible_rows(self) -> list[RunSummary]:
        """The runs that are on the screen."""
        return [self.runs[index] for index in self.visible_range()]

    def count(self) -> int:
        return len(self.runs)

    def header(self, width: int) -> Text:
        """Titles above the columns."""
        cells = [cell(column.title, size or len(column.title), column.right) for column, size in self._shown(width)]
        return Text(" ".join(cells), "bold dim", no_wrap=True, end="")

    def row(self, index: int, width: int) -> Text:
        run = self.runs[index]
        colour = COLOURS.get(state_of(run), "")
        text = Text(end="")
        for column, size in self._shown(width):
            words = column.text(run)
            if column.tail:
                words = middle(words, size, column.tail)
            text.append(f"{cell(words, size, column.right)} " if size else words, colour if column.coloured else "")
            if column.tail and run.problem:
                # There is nothing to put into the other columns.
                return text.append(line(run.problem))
        return text

    def _shown(self, width: int) -> Iterator[tuple[Column, int]]:
        """The columns that a table of this width has, and how wide they are; the last may take what is left (0)."""
        for column in self._columns:
            if width >= min(column.sizes):
                yield column, column.width(width)

    def _sign(self, run: RunSummary) -> str:
        return ("◆" if run.id == self.baseline else " ") + ("•" if run.id in self.marked else " ")

    def _left(self, run: RunSummary) -> str:
        if run.state not in ALIVE:
            return ""
        return time_left(self.courses.of(run.directory).seconds_left(run.steps, time.time()))

    def _reward(self, run: RunSummary) -> str:
        values = self.courses.of(run.directory).values(REWARD)
        cells = SPARK if self.size.width >= 100 else SPARK_NARROW
        known = self._sparks.get(run.id)
        if known is None or known[:2] != (len(values), cells):
            known = self._sparks[run.id] = (len(values), cells, sparkline(values, cells))
        return known[2]


def _steps(run: RunSummary) -> str:
    return "" if run.problem or not run.steps else f"{run.step}/{run.steps}"


def _number(value: float | None) -> str:
    return "" if value is None else number(value, signed=True)


ORDERS: dict[str, Callable[[RunSummary], object]] = {
    "newest": lambda run: run.id,
    "last written": lambda run: run.updated,
    "reward": lambda run: _or_least(run.metrics.get(REWARD)),
    "held-out": lambda run: _or_least(found[1] if (found := held_out(run.metrics)) else None),
    "step": lambda run: run.step,
}
"""Sort orders by name, the largest first"""


def _or_least(value: float | None) -> float:
    return float("-inf") if value is None or value != value else value
