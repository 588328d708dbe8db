"""The table of runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence

from rich.text import Text

from dapoctl.runs.history import Courses
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.columns import Column, Place, columns_in
from dapoctl.views.metrics import REWARD
from dapoctl.views.numbers import sparkline, time_left
from dapoctl.views.runs import held_out
from dapoctl.views.runs_table import SPARK, SPARK_NARROW, Live, RunRow, columns_of
from dapoctl.views.text import cell, line, middle

TAIL = 5
"""Of a name: what tells it from its namesakes"""


class RunTable(VirtualList):
    """Runs, the newest first unless sorted otherwise."""

    def __init__(self, courses: Courses) -> None:
        super().__init__()
        self.courses = courses
        self.runs: list[RunSummary] = []
        self.snapshot = Snapshot()
        self.marked: Collection[str] = ()
        self.baseline: str | None = None
        self.set = ""
        """The held-out set whose accuracy is shown"""
        self._live = _LiveRuns(self)

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
        titles = [(column.title_in(Place.GRID), size, column.right) for column, size in self._shown(width)]
        cells = [cell(title, size or len(title), right) for title, size, right in titles]
        return Text(" ".join(cells), "bold dim", no_wrap=True, end="")

    def row(self, index: int, width: int) -> Text:
        run = self.runs[index]
        text = Text(end="")
        for column, size in self._shown(width):
            found = column.cell(RunRow(run, self._live, self.set))
            words = middle(found.plain, size, TAIL) if column.middle else found.plain
            text.append(f"{cell(words, size, column.right)} " if size else words, found.style)
            if column.key == "name" and run.problem:
                # There is nothing to put into the other columns.
                return text.append(line(run.problem))
        return text

    def _shown(self, width: int) -> Iterator[tuple[Column[RunRow], int]]:
        """The columns that a table of this width has, and how wide they are; the last may take what is left (0)."""
        for column in columns_in(columns_of(self.set), Place.GRID):
            if (size := column.size_in(width)) >= 0:
                yield column, size


class _LiveRuns(Live):
    """What is known beyond the summaries."""

    def __init__(self, table: RunTable) -> None:
        self._table = table
        self._sparks: dict[str, tuple[int, int, str]] = {}

    def marks(self, run: RunSummary) -> str:
        return ("◆" if run.id == self._table.baseline else " ") + ("•" if run.id in self._table.marked else " ")

    def time_left(self, run: RunSummary) -> str:
        if run.state != "running":
            return ""
        return time_left(self._table.courses.of(run.directory).seconds_left(run.steps, time.time()))

    def reward_course(self, run: RunSummary) -> str:
        values = self._table.courses.of(run.directory).values(REWARD)
        cells = SPARK if self._table.size.width >= 100 else SPARK_NARROW
        known = self._sparks.get(run.id)
        if known is None or known[:2] != (len(values), cells):
            known = self._sparks[run.id] = (len(values), cells, sparkline(values, cells))
        return known[2]

    def gpus(self, run: RunSummary) -> str:
        return self._table.snapshot.gpus(run.id)


ORDERS: dict[str, Callable[[RunSummary, str], object]] = {
    "newest": lambda run, _set: run.id,
    "last written": lambda run, _set: run.updated,
    "reward": lambda run, _set: _or_least(run.metrics.get(REWARD)),
    "held-out": lambda run, set_: _or_least(held_out(run.metrics, set_)),
    "step": lambda run, _set: run.step,
}
"""Sort orders by name, the largest first; of a run and the held-out set that is shown"""


def _or_least(value: float | None) -> float:
    return float("-inf") if value is None or value != value else value
