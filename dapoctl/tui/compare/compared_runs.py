"""Runs that are compared: read again as they change, and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.console import Group
from textual import events, on
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.evaluation.background import Background, background
from dapoctl.evaluation.compare.comparison import Line
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.tui.compare.matrix import Matrix, MatrixHead
from dapoctl.tui.compare.model import Found, Shelf, Side, Stamps, fetch, stamps_now
from dapoctl.tui.compare.run_rows import BARE, columns_of, rows_of
from dapoctl.tui.compare.summary import (
    ALL,
    GAINED,
    LOST,
    chosen_lines,
    details,
    head_words,
    verdicts,
)
from dapoctl.tui.screen import WorkbenchScreen, give_up_unless_wanted
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.grid import Grid, GridRows
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import data

EMPTY = """
Nothing is compared yet.

  On Runs (1), space marks runs, p pins the baseline, c compares them.
  a   choose runs here
  e   there, or here once runs are chosen: evaluate them

One run alone is compared with itself before training.
In a shell: dapoctl eval RUN --task aime24
"""


class ComparedRuns(WorkbenchScreen):
    """A baseline and other runs on one set. A subclass adds the keys."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.words: list[str] = []
        """RUN or RUN@STEP, the baseline first"""
        self.set: str | None = None
        self.found: Found | None = None
        self.order = "difference"
        self.filter = ALL
        self.lines: list[Line] = []
        self._shelf = Shelf()
        self._marks: list[str] = []
        self._fresh = True
        """Whether the runs were just chosen"""

    def body(self) -> Iterable[Widget]:
        yield Static(id="compare-head", markup=False)
        with Vertical(id="compare"):
            yield Grid()
            with VerticalScroll(id="verdict"):
                yield Static(markup=False)
            with Horizontal(id="lower"):
                with Vertical(id="problems"):
                    matrix = Matrix()
                    yield MatrixHead(matrix)
                    yield matrix
                with VerticalScroll(id="details"):
                    yield Static(markup=False)
        yield Static(data(EMPTY), id="compare-empty", markup=False)

    @property
    def grid(self) -> Grid:
        """The runs."""
        return self.query_one(Grid)

    @property
    def matrix(self) -> Matrix:
        """The problems."""
        return self.query_one(Matrix)

    def on_mount(self) -> None:
        self.matrix.focus()
        self._adopt()
        self._load()

    @property
    def busy(self) -> bool:
        """Whether figures are being worked out."""
        return self.is_busy("compare")

    # What is compared.

    def take(self, words: Sequence[str], set_: str | None = None) -> None:
        """Compare `words` (RUN or RUN@STEP, the baseline first), on `set_` or on the set that most of them have."""
        self.words, self.set, self._fresh = list(words), set_, True
        self._marks = self._marked()
        if self.ready:
            self._load()

    def _marked(self) -> list[str]:
        session = self.session
        return list(dict.fromkeys([*([session.baseline] if session.baseline else []), *session.marked]))

    def _adopt(self) -> None:
        """Runs that were marked since: who comes here by a digit wants these."""
        marks = self._marked()
        if marks != self._marks:
            self._marks = marks
            if marks and marks != self.words:
                self.words, self.set, self._fresh = marks, None, True
                if self.ready:
                    self._load()

    def on_screen_resume(self, _event: events.ScreenResume) -> None:
        self._adopt()

    def visible_runs(self) -> set[str]:
        return {side.run for side in self.found.sides} if self.found else set()

    def _load(self) -> None:
        """Read and compare in a thread; what is being worked out for an older choice is given up."""
        words, set_, root = list(self.words), self.set, self.session.root
        if not words:
            self.found = None
            self._draw()
            return
        self.query_one("#compare-empty").display = False

        def read() -> Found:
            found = fetch(self._shelf, root, words, set_, check=give_up_unless_wanted)
            for side in found.sides:
                if side.evaluation is not None:
                    self.session.courses.of(side.evaluation.run.directory).update()
            return found

        self.work(read, self._read, "compare")

    def _read(self, found: Found) -> None:
        fresh, self._fresh = self._fresh, False
        self.found = found
        self._draw()
        if fresh:
            # What is asked is how the others do, not the baseline.
            self.grid.rows.cursor = 1
            self.matrix.cursor = 0

    def store_changed(self, snapshot: Snapshot) -> None:
        """Evaluations grow and new ones come: look whether any of these did."""
        del snapshot
        found, root = self.found, self.session.root
        if found is None or self.busy:
            return
        words = [side.word for side in found.sides]

        def look() -> tuple[Stamps, list[Background | None]]:
            goes_on = [background(root / side.run) for side in found.sides]
            return stamps_now(root, words, found.set), goes_on

        def looked(news: tuple[Stamps, list[Background | None]]) -> None:
            stamps, backgrounds = news
            if self.found is not found:
                return
            if stamps != found.stamps:
                self._load()
            elif backgrounds != [side.background for side in found.sides]:
                sides = [replace(each, background=now) for each, now in zip(found.sides, backgrounds, strict=True)]
                self.found = replace(found, sides=tuple(sides))
                self._draw()

        self.work(look, looked, "stamps")

    # What is shown.

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._draw_lower)

    def _draw(self) -> None:
        found = self.found
        self.query_one("#compare").display = found is not None
        self.query_one("#compare-empty").display = found is None
        if found is not None:
            cells, wholes = rows_of(found)
            compared = found.comparison
            columns = columns_of(compared) if compared else BARE
            self.grid.show(columns, cells, wholes, min(self.grid.rows.cursor, max(0, len(cells) - 1)))
        self._draw_lower()

    def _draw_lower(self) -> None:
        found = self.found
        compared = found.comparison if found is not None else None
        self.lines = chosen_lines(compared, self.filter, self.order, self._place()) if compared else []
        self.draw_head()
        if found is None:
            return
        self.query_one("#lower").display = compared is not None
        self._verdict()
        if compared is None:
            return
        self.matrix.show(compared, self.lines)
        self.query_one(MatrixHead).refresh()
        pane = self.query_one("#details")
        if pane.display:
            width = max(20, pane.scrollable_content_region.width)
            parts = details(compared, self.session.courses, width)
            self.query_one("#details Static", Static).update(Group(*parts))

    def busy_changed(self, group: str) -> None:
        if group == "compare":
            self.draw_head()

    def draw_head(self) -> None:
        """Say what is shown, and whether figures are being worked out."""
        words = head_words(self.found, self.busy, len(self.lines), self.filter, self.order)
        self.query_one("#compare-head", Static).update(data(words, "italic"))

    def _verdict(self) -> None:
        if self.found is not None:
            self.query_one("#verdict Static", Static).update(Group(*verdicts(self.found, self._place())))

    def current(self) -> Side | None:
        """The run under the cursor of the upper table."""
        sides, cursor = self.found.sides if self.found else (), self.grid.rows.cursor
        return sides[cursor] if 0 <= cursor < len(sides) else None

    def _place(self) -> int:
        """The place of the current run in the comparison; the baseline's where it has no evaluation."""
        side = self.current()
        measured = self.found.measured() if self.found else []
        return measured.index(side) if side in measured else 0

    @on(VirtualList.Moved)
    def _cursor_moved(self, event: VirtualList.Moved) -> None:
        if isinstance(event.widget, GridRows):
            self._verdict()
            if self.filter in (GAINED, LOST):
                self._draw_lower()
