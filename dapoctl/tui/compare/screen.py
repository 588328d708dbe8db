"""Compare: did it help, or is it noise?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from rich.console import Group
from textual import events, on
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.evaluation.background import Background, background
from dapoctl.evaluation.compare.comparison import Line
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.tui.actions.evaluations import evaluate_runs, options_like, stop_evaluations, usual_options
from dapoctl.tui.compare import choices
from dapoctl.tui.compare.matrix import ORDERS, Matrix
from dapoctl.tui.compare.model import Found, Shelf, Side, Stamps, fetch, stamps_now
from dapoctl.tui.compare.run_rows import BARE, columns_of, rows_of
from dapoctl.tui.compare.summary import (
    ALL,
    DIFFERENT,
    FILTERS,
    GAINED,
    LOST,
    chosen_lines,
    details,
    head_words,
    telling_side,
    verdicts,
)
from dapoctl.tui.keys import key
from dapoctl.tui.messages import OpenRun
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


class CompareScreen(WorkbenchScreen):
    """A baseline and other runs on one set."""

    HEADING = "Compare"
    QUESTION = "Did it help, or is it noise? Evaluations of one set, paired by problem, against a baseline (A)."
    SCOPED_CSS = False
    CSS = """
    CompareScreen #compare-head { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    CompareScreen Grid { max-height: 40%; }
    CompareScreen #verdict { height: auto; max-height: 9; margin: 0 0 1 0; }
    CompareScreen.-short #verdict { max-height: 2; margin: 0; }
    CompareScreen #verdict:focus, CompareScreen #details:focus { background: $surface; }
    CompareScreen #lower { height: 1fr; }
    CompareScreen #problems { width: 1fr; }
    CompareScreen #matrix-head { height: 1; }
    CompareScreen #details { width: 1fr; padding: 0 1; display: none; }
    CompareScreen.-wide #details { width: 2fr; display: block; border-left: solid $panel; }
    CompareScreen.-details #details { display: block; }
    CompareScreen.-narrow.-details #problems, CompareScreen.-normal.-details #problems { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key("b", "baseline", "Baseline", "compare.baseline"),
        key("d", "different", "Different", "compare.different"),
        key("o", "order", "Order", "compare.order"),
        key("f", "filter", "Gained, lost, all", "compare.filter", show=False),
        key("v", "view", "What differs", "compare.view"),
        key("t", "set", "Choose the set", "compare.set", show=False),
        key("s", "step", "Choose the step of a run", "compare.step", show=False),
        key("a", "runs", "Choose runs", "compare.runs", show=False),
        key("e", "evaluate", "Evaluate", "compare.evaluate"),
        key("x", "stop", "Stop evaluating", "compare.stop", show=False),
        key("X", "export", "Export", "compare.export"),
    ]

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
                    yield Static(id="matrix-head", markup=False)
                    yield Matrix()
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
        self.query_one("#matrix-head", Static).update(self.matrix.header(self.matrix.size.width))
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

    @on(VirtualList.Chosen)
    def _row_chosen(self, event: VirtualList.Chosen) -> None:
        if isinstance(event.widget, Matrix):
            self._transcripts()
        elif (side := self.current()) is not None:
            self.post_message(OpenRun(side.run, "evals"))

    # Keys.

    def _transcripts(self) -> None:
        from dapoctl.tui.compare.transcripts_screen import TranscriptsScreen

        problem, found = self.matrix.current(), self.found
        if problem is None or found is None:
            return
        words = [side.word for side in found.measured()]
        order = [each.problem for each in self.lines]
        second = telling_side(self.lines[self.matrix.cursor], self._place())
        screen = TranscriptsScreen(self.session, words, found.set, problem, order, second, self._shelf)
        self.app.push_screen(screen, self._came_back)

    def _came_back(self, _result: None) -> None:
        self.matrix.focus()

    def action_baseline(self) -> None:
        found = self.found
        if found is None or len(found.sides) < 2:
            return
        place = self.grid.rows.cursor or 1
        words = [side.word for side in found.sides]
        self.words = [words[place], *(word for word in words if word != words[place])]
        self.session.baseline = found.sides[place].run
        self._marks = self._marked()
        self.grid.rows.cursor = 0 if self.grid.rows.cursor else 1
        self._load()

    def action_different(self) -> None:
        self.filter = ALL if self.filter == DIFFERENT else DIFFERENT
        self._draw_lower()

    def action_filter(self) -> None:
        self.filter = FILTERS[(FILTERS.index(self.filter) + 1) % len(FILTERS)]
        self._draw_lower()

    def action_order(self) -> None:
        names = [*ORDERS]
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self._draw_lower()

    def action_view(self) -> None:
        """Where there is room for one only: the problems, or what differs between the runs."""
        self.toggle_class("-details")
        shown = self.has_class("-details")
        self.query_one("#details").focus() if shown else self.matrix.focus()
        self.call_after_refresh(self._draw_lower)

    def action_set(self) -> None:
        if self.found is not None:
            choices.choose_set(self, self.found, self._take_set)

    def _take_set(self, set_: str) -> None:
        self.set = set_
        self._load()

    def action_step(self) -> None:
        if self.found is not None and (side := self.current()) is not None:
            choices.choose_steps(self, self.found, side, self.take_words)

    def action_runs(self) -> None:
        choices.choose_runs(self, [side.run for side in self.found.sides] if self.found else [], self.take_words)

    def take_words(self, words: Sequence[str]) -> None:
        """Compare `words` on the same set."""
        self.words = list(words)
        self._load()

    def action_export(self) -> None:
        if self.found is not None and self.found.comparison is not None:
            choices.export_comparison(self, self.found.comparison, self.lines)

    def action_evaluate(self) -> None:
        found = self.found
        if found is None:
            self.action_runs()
            return
        asked = [side for side in found.lacking if (self.session.root / side.run).is_dir()] or list(found.sides)
        known = next((side.evaluation for side in found.measured() if side.evaluation), None)
        run = self.session.snapshot.find(asked[0].run) if asked else None
        options = usual_options(run) if run is not None else []
        if known is not None and found.lacking:
            options = options_like(known)
        evaluate_runs(self, [side.word for side in asked], options, self._take_set)

    def action_stop(self) -> None:
        sides = self.found.sides if self.found else ()
        going = [
            self.session.root / side.run for side in sides if side.background is not None and side.background.alive
        ]
        stop_evaluations(self, list(dict.fromkeys(going)))
