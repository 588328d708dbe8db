"""Runs: what is going on?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.errors import UserError
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.runs.query import select
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.home.inspector import Inspector
from dapoctl.tui.home.run_table import ORDERS, RunTable
from dapoctl.tui.keys import key
from dapoctl.tui.messages import CompareRuns, LaunchFrom, OpenRun, ReadStore
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.dialogs import Ask
from dapoctl.tui.widgets.renew import renew
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.runs import held_out_sets
from dapoctl.views.text import data, line

EMPTY = """
No runs in {root} yet.

  f   start a first run now: the tiny model that ships with dapoctl,
      about two minutes on two CPU cores
  n   choose its components and parameters first
  ?   keys

Runs that other terminals start appear here by themselves.
"""


class RunsScreen(WorkbenchScreen):
    """Every run of the store."""

    HEADING = "Runs"
    QUESTION = "What is going on? Every run of the store; the one under the cursor in more words beside it."
    BINDINGS: ClassVar[list[BindingType]] = [
        key("slash", "filter", "Filter", "runs.filter"),
        key("s", "sort", "Sort", "runs.sort", show=False),
        key("space", "mark", "Mark", "runs.mark"),
        key("t", "set", "Choose the held-out set", "runs.set", show=False),
        key("p", "pin", "Pin as baseline", "runs.pin", show=False),
        key("c", "compare", "Compare", "runs.compare"),
        key("l", "open('logs')", "Logs", "runs.logs", show=False),
        key("n", "clone", "New", "runs.clone"),
        key("x", "stop", "Stop", "runs.stop"),
        key("u", "resume", "Resume", "runs.resume", show=False),
        key("e", "evaluate", "Evaluate", "runs.evaluate", show=False),
        key("f", "first", "Start a first run", "runs.first", show=False),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.filter_text = ""
        self.order = "newest"
        self.set = ""
        """The held-out set that was chosen; empty for the one that most runs were evaluated on"""
        self.sets: list[str] = []

    def body(self) -> Iterable[Widget]:
        with Vertical(id="runs"):
            yield Static(id="runs-head", markup=False)
            with Horizontal():
                yield RunTable(self.session.courses)
                inspector = Inspector(self.session.courses)
                inspector.add_class("wide-only")
                yield inspector
        yield Static(id="runs-empty", markup=False)

    @property
    def table(self) -> RunTable:
        """The table."""
        return self.query_one(RunTable)

    def on_mount(self) -> None:
        self.table.focus()
        self.store_changed(self.session.snapshot)

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._head)

    def visible_runs(self) -> set[str]:
        return {run.id for run in self.table.visible_rows()}

    def store_changed(self, snapshot: Snapshot) -> None:
        table, session = self.table, self.session
        table.marked, table.baseline = session.marked, session.baseline
        runs = list(snapshot.runs)
        empty = snapshot.read and not runs
        self.query_one("#runs-empty").display = empty or not snapshot.read
        self.query_one("#runs").display = bool(runs)
        note = EMPTY.format(root=session.root) if snapshot.read else f"\nReading {session.root} ..."
        renew(self.query_one("#runs-empty", Static), data(note))
        try:
            runs = select(runs, self.filter_text) if self.filter_text else runs
        except UserError as error:
            self.show_error(error)
        self.sets = held_out_sets(runs)
        table.set = self.set if self.set in self.sets else next(iter(self.sets), "")
        runs.sort(key=lambda run: ORDERS[self.order](run, table.set), reverse=True)  # type: ignore[arg-type,return-value]
        table.show(runs, snapshot)
        # The table has its width only when it has been laid out, as after an empty store.
        self.call_after_refresh(self._head)
        self._inspect()
        self.tick()

    def _head(self) -> None:
        notes = []
        if self.filter_text:
            notes.append(f"{len(self.table.runs)} of {len(self.session.snapshot.runs)} fit `{self.filter_text}`")
        if self.order != "newest":
            notes.append(f"sorted by {self.order}")
        if len(self.sets) > 1:
            notes.append(f"accuracy on {line(self.table.set)}, t for {len(self.sets) - 1} more")
        if problem := self.session.snapshot.problem:
            notes.append(problem)
        head = self.table.header(self.table.size.width)
        if notes:
            head = Text.assemble((line("; ".join(notes)), "italic"), "\n", head, no_wrap=True, overflow="ellipsis")
        renew(self.query_one("#runs-head", Static), head)

    def _inspect(self) -> None:
        inspector = self.query_one(Inspector)
        if inspector.display:
            inspector.show(self.table.current(), self.session.snapshot)

    def tick(self) -> None:
        """Read on in the metrics of the runs that are on the screen."""
        if not self.table.display:
            return
        courses = [self.session.courses.of(run.directory) for run in self.table.visible_rows()]

        def read() -> bool:
            changed = [course.update() for course in courses]
            return any(changed)

        def drawn(changed: bool) -> None:
            if changed:
                self.table.refresh_changed()
                self._inspect()

        self.work(read, drawn, "courses", unless_busy=True)

    @on(VirtualList.Moved)
    def _cursor_moved(self) -> None:
        self._inspect()

    @on(VirtualList.Chosen)
    def _row_chosen(self) -> None:
        self.action_open("charts")

    def _current(self) -> RunSummary | None:
        return self.table.current()

    def action_open(self, tab: str) -> None:
        if (run := self._current()) is not None:
            self.post_message(OpenRun(run.id, tab))

    def action_filter(self) -> None:
        def answered(text: str | None) -> None:
            if text is not None:
                self.filter_text = text.strip()
                self.clear_errors()
                self.store_changed(self.session.snapshot)

        example = "gkl and state=finished and eval.aime24.avg>0.1"
        self.app.push_screen(Ask("Which runs? Empty shows all.", self.filter_text, example), answered)

    def action_sort(self) -> None:
        names = [*ORDERS]
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self.store_changed(self.session.snapshot)

    def action_set(self) -> None:
        """The next set that runs were evaluated on."""
        if self.sets:
            self.set = self.sets[(self.sets.index(self.table.set) + 1) % len(self.sets)]
            self.store_changed(self.session.snapshot)

    def action_mark(self) -> None:
        run, marked = self._current(), self.session.marked
        if run is None:
            return
        marked.remove(run.id) if run.id in marked else marked.append(run.id)
        self.table.cursor += 1
        self.table.refresh()

    def action_pin(self) -> None:
        if (run := self._current()) is not None:
            self.session.baseline = None if self.session.baseline == run.id else run.id
            self.store_changed(self.session.snapshot)

    def action_compare(self) -> None:
        session, run = self.session, self._current()
        chosen = list(session.marked)
        if session.baseline is not None:
            chosen = [session.baseline, *(name for name in chosen if name != session.baseline)]
        if len(chosen) < 2 and run is not None and run.id not in chosen:
            chosen.append(run.id)
        if not chosen:
            self.app.notify("space marks runs to compare, p pins the baseline", markup=False)
            return
        self.post_message(CompareRuns(chosen))

    def action_clone(self) -> None:
        run = self._current()
        self.post_message(LaunchFrom(run.id if run else None))

    def action_first(self) -> None:
        """On an empty store only: a run with every default."""
        snapshot, root = self.session.snapshot, self.session.root
        if snapshot.runs or not snapshot.read or self.is_busy("first") or self.refuse_readonly("start"):
            return

        from dapoctl.tui.actions.runs import Sent, start_defaults

        def started(sent: Sent) -> None:
            self.app.notify(sent.words, markup=False)
            self.session.store.include(sent.run)
            self.store_changed(self.session.snapshot)
            self.post_message(ReadStore())

        self.work(lambda: start_defaults(root), started, "first")

    def _chosen(self) -> list[RunSummary]:
        marked = [run for run in self.table.runs if run.id in self.session.marked]
        current = self._current()
        return marked or ([current] if current else [])

    def action_stop(self) -> None:
        from dapoctl.tui.actions.runs import stop_runs

        stop_runs(self, self._chosen())

    def action_evaluate(self) -> None:
        """Evaluate the marked runs, or the one under the cursor, in the background."""
        from dapoctl.tui.actions.evaluations import evaluate_runs, usual_options

        runs = [run for run in self._chosen() if not run.problem]
        if runs:
            evaluate_runs(self, [run.id for run in runs], usual_options(runs[0]))

    def action_resume(self) -> None:
        from dapoctl.tui.actions.runs import resume_run

        if (run := self._current()) is not None:
            resume_run(self, run)
