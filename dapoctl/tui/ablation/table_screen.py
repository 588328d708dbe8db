"""The table of component sets: read again as runs and evaluations come, and drawn."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.console import Group
from rich.text import Text
from textual import events, on
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.evaluation.compare.ablation import Row
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.ablation.model import Gap, Table, candidates, fetch_table
from dapoctl.tui.ablation.rows import columns_of, gap_text, table_cells
from dapoctl.tui.compare.model import Shelf, Stamps, eval_line, stamps_of
from dapoctl.tui.screen import WorkbenchScreen, give_up_unless_wanted
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.grid import Grid
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views import ablation
from dapoctl.views.runs import called
from dapoctl.views.tables import note
from dapoctl.views.tables import text as words_of
from dapoctl.views.text import data, line

LOOK = 10.0
"""Seconds between two looks at the evaluations of every run"""
EMPTY = """
{trouble}

A table of components needs evaluations of two runs that differ:
  Runs (1)     mark finished runs, e evaluates them
  Launch (3)   start a run with one component changed
In a shell: {command}
"""


class AblationTable(WorkbenchScreen):
    """Sets of components against a baseline, each as the mean over its seeds. A subclass adds the keys."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.set: str | None = None
        self.table: Table | None = None
        self.only_marked = False
        self._shelf = Shelf()
        self._baseline: str | None = None
        self._ids: tuple[str, ...] = ()
        self._looked = 0.0

    def body(self) -> Iterable[Widget]:
        yield Static(id="ablation-head", markup=False)
        with Vertical(id="ablation"):
            yield Grid()
            with VerticalScroll(id="row"):
                yield Static(markup=False)
        yield Static(id="ablation-empty", markup=False)

    @property
    def grid(self) -> Grid:
        """The table."""
        return self.query_one(Grid)

    def on_mount(self) -> None:
        self.query_one("#ablation").display = False
        self.grid.rows.focus()

    def visible_runs(self) -> set[str]:
        return {self.table.baseline.run.id} if self.table and self.table.baseline else set()

    @property
    def busy(self) -> bool:
        """Whether figures are being worked out."""
        return self.is_busy("ablation")

    # What is in the table.

    def _runs(self) -> list[RunSummary]:
        session = self.session
        return candidates(session.snapshot.runs, session.marked if self.only_marked else ())

    def store_changed(self, snapshot: Snapshot) -> None:
        """Read again when runs or evaluations have come or changed."""
        if not snapshot.read or self.busy:
            return
        runs, table = self._runs(), self.table
        if table is None or self._ids != tuple(run.id for run in runs) or self.session.baseline != self._baseline:
            self._load()
            return

        self._follow_gaps(snapshot)
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()

        def look() -> Stamps:
            evaluated = [stamps_of(run.directory, table.set) for run in runs]
            return tuple(sorted(stamp for each in evaluated for stamp in each))

        def looked(stamps: Stamps) -> None:
            if (
                self.table is not None
                and self.table.stamps is table.stamps
                and not table.left_out
                and stamps != tuple(sorted(table.stamps))
            ):
                self._load()

        self.work(look, looked, "stamps")

    def _follow_gaps(self, snapshot: Snapshot) -> None:
        """Runs that will fill a gap go on meanwhile."""
        table = self.table
        if table is None:
            return
        gaps = [replace(gap, run=snapshot.find(gap.run.id) or gap.run) if gap.run else gap for gap in table.gaps]
        if [gap.run for gap in gaps] != [gap.run for gap in table.gaps]:
            self.table = replace(table, gaps=tuple(gaps))
            self._draw()

    def _load(self) -> None:
        runs, set_, baseline = self._runs(), self.set, self.session.baseline
        self._ids, self._baseline = tuple(run.id for run in runs), baseline
        self.work(lambda: fetch_table(self._shelf, runs, set_, baseline, give_up_unless_wanted), self._read, "ablation")

    def _read(self, found: Table) -> None:
        self.table = found
        self._draw()

    # What is shown.

    def _draw(self) -> None:
        table = self.table
        if table is None:
            return
        self.query_one("#ablation").display = table.ablation is not None
        empty = self.query_one("#ablation-empty", Static)
        empty.display = table.ablation is None
        if table.ablation is None:
            trouble = table.trouble + (f" ({table.baseline.run.id}, {table.set})" if table.baseline else "")
            run = self._ids[0] if self._ids else "RUN"
            command = eval_line(run, table.set or "SET").strip("`")
            empty.update(data(EMPTY.format(trouble=line(trouble), command=command)))
        else:
            columns = columns_of(table.ablation)
            cells = table_cells(table.ablation)
            wholes: dict[int, Text] = {}
            for gap in table.gaps:
                wholes[len(cells)] = gap_text(gap)
                cells.append([data(line(gap.name), "dim"), *[data("")] * (len(columns) - 1)])
            self.grid.show(columns, cells, wholes)
        self.draw_head()
        self._row()

    def busy_changed(self, group: str) -> None:
        if group == "ablation":
            self.draw_head()

    def draw_head(self) -> None:
        """Say what is shown, and whether figures are being worked out."""
        table = self.table
        words = ["reading ..." if table is None else line(table.set) or "no evaluation"]
        if table is not None:
            words[0] += f" ({len(table.sets)} sets, t)" if len(table.sets) > 1 else ""
            if table.baseline is not None:
                words.append(f"against {called(table.baseline.run)}")
            words.append("marked runs" if self.only_marked else "all runs")
            if table.left_out:
                words.append(f"{table.left_out} older runs left out")
            if self.busy:
                words.insert(1, "computing ...")
        self.query_one("#ablation-head", Static).update(Text(" · ".join(words), "italic", no_wrap=True, end=""))

    def current(self) -> Row | Gap | None:
        """What the cursor is on."""
        table, cursor = self.table, self.grid.rows.cursor
        if table is None or table.ablation is None:
            return None
        rows: Sequence[Row | Gap] = [*table.ablation.rows, *table.gaps]
        return rows[cursor] if 0 <= cursor < len(rows) else None

    def _row(self) -> None:
        """More about the row under the cursor, and what the figures mean."""
        table, current = self.table, self.current()
        if table is None or table.ablation is None:
            return
        parts: list[Text] = []
        if isinstance(current, Row):
            names = [
                f"{each.name} (seed {seed})"
                for each, seed in zip(current.arm.evaluations, current.arm.seeds, strict=True)
            ]
            parts.append(words_of(", ".join(names), "bold"))
            for badge in current.badges:
                parts.append(Text.assemble((f" {badge.kind} ", "reverse yellow"), f" {line(badge.words)}"))
        elif isinstance(current, Gap):
            parts.append(words_of(f"not evaluated: plugins {', '.join(current.plugins)}", "bold"))
            if current.parameters:
                parts.append(words_of(", ".join(f"{name} = {value}" for name, value in current.parameters.items())))
        parts += [words_of(f"left out: {word}: {why}", "yellow") for word, why in table.ablation.left_out]
        parts += [Text(), note(ablation.NOTES)]
        if ablation.leaves_seeds_out(table.ablation):
            parts.append(note(ablation.NO_SEEDS))
        self.query_one("#row Static", Static).update(Group(*parts))

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._row)

    @on(VirtualList.Moved)
    def _cursor_moved(self) -> None:
        self._row()
