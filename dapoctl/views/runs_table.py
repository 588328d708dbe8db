"""The columns of a table of runs: `runs list`, and the first screen of the terminal UI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any

from dapoctl.runs.summary import RunSummary
from dapoctl.views import columns
from dapoctl.views.columns import Column, Place
from dapoctl.views.metrics import REWARD
from dapoctl.views.numbers import age, number, percent
from dapoctl.views.runs import COLOURS, called, changes, held_out, held_out_sets, state_of, state_text
from dapoctl.views.terminal import width
from dapoctl.views.text import line

SPARK, SPARK_NARROW = 12, 6
"""Widths of the reward's sparkline"""
LONG = ("spec", "config_text")
"""Of a run's summary, what a list leaves out"""


class Live:
    """What a table that is kept up to date knows of its runs; nothing by default."""

    def marks(self, _run: RunSummary) -> str:
        """Whether it is the baseline, and whether it is marked."""
        return ""

    def time_left(self, _run: RunSummary) -> str:
        """How long it will take."""
        return ""

    def reward_course(self, _run: RunSummary) -> str:
        """Its reward as a sparkline."""
        return ""

    def gpus(self, _run: RunSummary) -> str:
        """The GPUs that it has."""
        return ""


@dataclass(frozen=True)
class RunRow:
    """A row of the table."""

    run: RunSummary
    live: Live = field(default_factory=Live)
    set: str = ""
    """The held-out set whose accuracy is shown: those of two sets must not stand under each other"""


def _steps(row: RunRow) -> str:
    return "" if row.run.problem else f"{row.run.step}/{row.run.steps}"


def _reward(row: RunRow, signed: bool) -> str:
    value = row.run.metrics.get(REWARD)
    return "" if value is None else number(float(value), signed)


def _held_out(row: RunRow) -> str:
    found = held_out(row.run.metrics, row.set)
    return "" if found is None else percent(found)


def _components(row: RunRow) -> str:
    run = row.run
    return run.problem or ",".join(run.components) + (f"  ({run.why})" if run.why else "")


HELD_OUT = "held_out"
TERMINAL, GRID, JSON = Place.TERMINAL, Place.GRID, Place.JSON

# At 80 columns a name says what the components do, as long as nobody gave another.
COLUMNS: Sequence[Column[RunRow]] = (
    *(
        Column(key=name, value=attrgetter(f"run.{name}"), places=JSON)
        for name in (item.name for item in fields(RunSummary))
        if name not in LONG
    ),
    Column(key="marks", text=lambda row: row.live.marks(row.run), right=False, sizes={0: 2}, places=GRID),
    Column(key="id", title="run", text=lambda row: row.run.id, escape=True, places=TERMINAL),
    Column(key="state", title="state", text=lambda row: state_of(row.run), places=TERMINAL),
    Column(key="state", title="state", text=lambda row: state_text(row.run), right=False, sizes={0: 10, 100: 12},
           style=lambda row: COLOURS.get(state_of(row.run), ""), places=GRID),
    Column(key="name", title="name", text=lambda row: called(row.run), right=False, middle=True,
           sizes={0: 14, 60: 19, 110: 24}, places=GRID),
    Column(key="step", title="step", text=_steps, places=TERMINAL),
    Column(key="step", title="step", text=lambda row: _steps(row) if row.run.steps else "", sizes={0: 9, 110: 11},
           places=GRID),
    Column(key="left", title="left", text=lambda row: row.live.time_left(row.run), sizes={78: 7}, places=GRID),
    Column(key="rewards", title="reward", text=lambda row: row.live.reward_course(row.run), right=False,
           sizes={70: SPARK_NARROW, 100: SPARK}, places=GRID),
    Column(key="reward", title="reward", text=lambda row: _reward(row, signed=False), places=TERMINAL),
    Column(key="reward", text=lambda row: _reward(row, signed=True), sizes={60: 6}, places=GRID),
    Column(key=HELD_OUT, title="held-out", text=_held_out, sizes={50: 6, 110: 11}, places=TERMINAL | GRID),
    Column(key="gpus", title="on", text=lambda row: row.live.gpus(row.run), right=False, sizes={130: 8}, places=GRID),
    Column(key="age", title="age", text=lambda row: age(row.run.updated or row.run.created), sizes={60: 4}, places=GRID),
    Column(key="components", title="components", text=_components, escape=True, places=TERMINAL),
    Column(key="changes", title="components", text=lambda row: changes(row.run), right=False, sizes={90: 0}, places=GRID),
)  # fmt: skip


def columns_of(set_: str) -> Sequence[Column[RunRow]]:
    """The columns, with the name of the held-out set above its accuracy."""
    return [replace(column, title=line(set_)) if set_ and column.key == HELD_OUT else column for column in COLUMNS]


def runs_lines(runs: Sequence[RunSummary]) -> list[str]:
    """One line per run under a header; columns are aligned, the components last. Of held-out sets the one that most of the
    runs were evaluated on is shown, and the others are named below."""
    limit = width()
    first, *others = held_out_sets(runs) or [""]
    lines = columns.lines(columns_of(first), [RunRow(run, set=first) for run in runs])
    if others:
        lines += ["", f"evaluated on {', '.join(map(line, others))} too: `dapoctl runs show RUN`, `dapoctl compare`"]
    return [each if len(each) <= limit else each[: limit - 1] + "…" for each in lines]


def run_values(run: RunSummary) -> dict[str, Any]:
    """A run for `--json`."""
    return columns.record(COLUMNS, RunRow(run))
