"""The table of runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from rich.text import Text

from dapoctl.cli.figures import number, sparkline
from dapoctl.cli.progress import REWARD
from dapoctl.runs.state import ALIVE
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.courses import Courses
from dapoctl.tui.describe import COLOURS, age, called, changes, held_out, held_out_text, left, state_of, state_text
from dapoctl.tui.text import cell
from dapoctl.tui.watch import Snapshot
from dapoctl.tui.widgets.virtual import VirtualList

SPARK = 12


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    title: str
    width: int
    text: Callable[[RunSummary], str]
    since: int = 0
    """Columns of terminal from which it is shown"""
    right: bool = False


class RunTable(VirtualList):
    """Runs, the newest first unless sorted otherwise."""

    def __init__(self, courses: Courses) -> None:
        super().__init__()
        self.courses = courses
        self.runs: list[RunSummary] = []
        self.snapshot = Snapshot()
        self.marked: Collection[str] = ()
        self.baseline: str | None = None
        self._columns = [
            Column("", 2, self._sign),
            Column("state", 12, state_text),
            Column("name", 20, called),
            Column(
                "step", 11, lambda run: "" if run.problem or not run.steps else f"{run.step}/{run.steps}", right=True
            ),
            Column("left", 8, self._left, since=100, right=True),
            Column("reward", SPARK, self._reward, since=90),
            Column("", 7, lambda run: _number(run.metrics.get(REWARD)), right=True),
            Column("eval", 7, lambda run: held_out_text(run.metrics), right=True),
            Column("on", 8, lambda run: self.snapshot.gpus(run.id), since=140),
            Column("age", 4, lambda run: age(run.updated or run.created), right=True),
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
        shown = [column for column in self._columns if width >= column.since]
        cells = [cell(column.title, column.width, column.right) for column in shown]
        return Text(" ".join([*cells, "components"]), "bold dim", no_wrap=True, end="")

    def row(self, index: int, width: int) -> Text:
        run = self.runs[index]
        text = Text(end="")
        for column in self._columns:
            if width >= column.since:
                style = COLOURS.get(state_of(run), "") if column.title == "state" else ""
                text.append(cell(column.text(run), column.width, column.right) + " ", style)
        return text.append(changes(run))

    def _sign(self, run: RunSummary) -> str:
        return ("◆" if run.id == self.baseline else " ") + ("•" if run.id in self.marked else " ")

    def _left(self, run: RunSummary) -> str:
        if run.state not in ALIVE:
            return ""
        return left(self.courses.of(run.directory).seconds_left(run.steps, time.time()))

    def _reward(self, run: RunSummary) -> str:
        return sparkline(self.courses.of(run.directory).values(REWARD), SPARK)


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
