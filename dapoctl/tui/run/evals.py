"""Evals: what can it do on held-out problems?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.text import Text
from textual import events, on
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.evaluation.files import SUMMARY, read_summary
from dapoctl.evaluation.statistics.intervals import Interval
from dapoctl.evaluation.stored import sets_of, steps_of
from dapoctl.runs.files import number_or_nan
from dapoctl.runs.summary import EVALS
from dapoctl.tui.messages import CompareRuns
from dapoctl.tui.run.pane import Pane
from dapoctl.tui.widgets.chart import Chart, View
from dapoctl.tui.widgets.curves import Curve, curve
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.columns import Place, columns_in
from dapoctl.views.evaluation_table import EvaluationRow, columns_of
from dapoctl.views.numbers import percent
from dapoctl.views.text import cell, data, line

EMPTY = """
No evaluation yet. `eval.every` in the configuration says when a run evaluates itself;
this evaluates its last checkpoint at any time:

  dapoctl eval {run} --task aime24
"""
COLUMNS = columns_in(columns_of(), Place.GRID)


@dataclass(frozen=True)
class Measured:
    """One evaluation, as its summary has it."""

    set: str
    step: int
    figures: Mapping[str, float]
    """By name without `eval/<set>/`"""
    trouble: str = ""

    def named(self, prefix: str) -> tuple[str, float]:
        """(name, value) of the figure of the largest k, such as `avg@32`."""
        fits = [
            (int(tail), name)
            for name in self.figures
            if (tail := name.removeprefix(prefix)) != name and tail.isdecimal()
        ]
        return (max(fits)[1], self.figures[max(fits)[1]]) if fits else ("", math.nan)

    @property
    def table_row(self) -> EvaluationRow:
        """As a row of the table."""
        name, avg = self.named("avg@")
        known = {"avg": avg, "pass": self.named("pass@")[1], "maj": self.named("maj@")[1]}
        ends = Interval(*(self.figures.get(f"{name}/{end}", math.nan) for end in ("low", "high")))
        return EvaluationRow({**self.figures, **known}, {"avg": ends}, step=self.step, avg=name, unknown="")


def measured(directory: Path) -> list[Measured]:
    """Every evaluation of a run, by set and step; what is damaged says so."""
    return [_measured(directory, set_, step) for set_ in sets_of(directory) for step in steps_of(directory, set_)]


def _measured(directory: Path, set_: str, step: int) -> Measured:
    summary, trouble = read_summary(directory / EVALS / set_ / f"step_{step}" / SUMMARY)
    found = summary.get("metrics")
    figures = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        figures[str(name).removeprefix(f"eval/{set_}/")] = number_or_nan(value)
    if summary and summary.get("complete") is False:
        trouble.append("not complete")
    return Measured(set_, step, figures, "; ".join(trouble))


class EvalTable(VirtualList):
    """A row per evaluation, the sets below each other."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Measured] = []

    def count(self) -> int:
        return len(self.found)

    @property
    def current(self) -> Measured | None:
        """The evaluation under the cursor."""
        return self.found[self.cursor] if 0 <= self.cursor < len(self.found) else None

    def set_width(self) -> int:
        """Columns of the names of sets."""
        longest = max((len(each.set) for each in self.found), default=0)
        return max(8, min(longest, 14 if self.size.width < 100 else 24))

    def header(self) -> Text:
        """Titles of the columns."""
        width = self.size.width
        sizes = [(column.title, column.size_in(width)) for column in COLUMNS]
        shown = [cell(title, size, right=True) for title, size in sizes if size >= 0]
        cells = [cell("set", self.set_width()), *shown]
        return Text(" ".join(cells), "bold dim", no_wrap=True, end="")

    def row(self, index: int, width: int) -> Text:
        each = self.found[index]
        first = index == 0 or self.found[index - 1].set != each.set
        text = Text(cell(line(each.set) if first else "", self.set_width()), "bold", end="")
        for column in COLUMNS:
            if (size := column.size_in(width)) >= 0:
                text.append(" " + cell(column.cell(each.table_row).plain, size, right=True), "not bold")
        return text.append(f"  ! {line(each.trouble)}" if each.trouble else "", "yellow not bold")


class EvalsPane(Pane):
    """Evaluations by set and step, and the course of the one under the cursor."""

    LEADS = "EvalTable"
    DEFAULT_CSS = """
    EvalsPane Chart { height: 35%; min-height: 6; }
    EvalsPane Chart.-gone { display: none; }
    EvalsPane EvalTable { height: 1fr; }
    """

    def compose(self) -> Iterable[Widget]:
        yield Static(data(EMPTY.format(run=self.directory.name)), id="evals-empty", markup=False)
        chart = Chart("", percent)
        chart.can_focus = False
        chart.add_class("hide-short")
        yield chart
        yield Static(id="evals-head", markup=False)
        yield EvalTable()

    def on_mount(self) -> None:
        self.show([])

    def tick(self) -> None:
        def drawn(found: list[Measured]) -> None:
            if found != self.query_one(EvalTable).found:
                self.show(found)

        self.work(lambda: measured(self.directory), drawn, "evals", unless_busy=True)

    def show(self, found: list[Measured]) -> None:
        """Show these; the cursor is at first on the newest of the first set."""
        table = self.query_one(EvalTable)
        first_time = not table.found
        table.found = found
        newest = max((index for index, each in enumerate(found) if each.set == found[0].set), default=0)
        table.refresh_rows(newest if first_time else None)
        self.query_one("#evals-empty").display = not found
        self.query_one(Chart).set_class(not found, "-gone")
        self._head()
        self._chart()

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._head)

    def _head(self) -> None:
        table = self.query_one(EvalTable)
        self.query_one("#evals-head", Static).update(table.header() if table.found else "")

    @on(VirtualList.Moved)
    def _cursor_moved(self, event: VirtualList.Moved) -> None:
        event.stop()
        self._chart()

    def _chart(self) -> None:
        table, chart = self.query_one(EvalTable), self.query_one(Chart)
        current = table.current
        if current is None:
            return
        same = [each for each in table.found if each.set == current.set]
        name = current.named("avg@")[0]
        chart.heading = f"{current.set} {name}"
        span = (float(same[0].step), float(max(same[-1].step, self.run.summary.step)))
        chart.show(lambda: curves(same, name), View(span=span, cursor=float(current.step)))

    @on(VirtualList.Chosen)
    def _row_chosen(self, event: VirtualList.Chosen) -> None:
        event.stop()
        self.compare()

    def compare(self) -> None:
        """The evaluation under the cursor, with the baseline's newest one or the run's own first one."""
        table, baseline = self.query_one(EvalTable), self.session.baseline
        current = table.current
        if current is None:
            return
        run = self.directory.name
        first = next(each for each in table.found if each.set == current.set)
        other = baseline if baseline not in (None, run) else f"{run}@{first.step}"
        if other == f"{run}@{current.step}":
            self.app.notify("this is the first: choose a later one, or pin another run as baseline", markup=False)
            return
        self.post_message(CompareRuns([str(other), f"{run}@{current.step}"], current.set))


def curves(same: list[Measured], name: str) -> list[Curve]:
    """The course of a figure with the ends of its interval."""
    steps = [each.step for each in same]
    found = [curve(steps, [each.figures.get(name, math.nan) for each in same], style="cyan")]
    for end in ("low", "high"):
        values = [each.figures.get(f"{name}/{end}", math.nan) for each in same]
        if any(map(math.isfinite, values)):
            found.append(replace(curve(steps, values, style="cyan"), faint=True))
    return found
