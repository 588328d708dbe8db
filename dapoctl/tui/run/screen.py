"""The screen of one run: how it stands, and six tabs below that."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar, cast

from textual import on
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widget import Widget

from dapoctl.runs.attempts import Activity, attempts, read_activity
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.actions.runs import resume_run, stop_runs
from dapoctl.tui.keys import key
from dapoctl.tui.messages import LaunchFrom
from dapoctl.tui.run.head import Head, TabBar
from dapoctl.tui.run.pane import Pane, ShownRun
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.session import Session


@dataclass(frozen=True)
class Tab:
    """A tab and the letter that leads to it."""

    name: str
    letter: str
    question: str
    value: str
    """`module:Class`, imported when it is first needed"""

    def build(self, session: Session, run: ShownRun) -> Pane:
        """Its widget."""
        module, _, name = self.value.partition(":")
        return cast("Pane", getattr(import_module(module), name)(session, run, id=f"tab-{self.name}"))


HERE = "dapoctl.tui.run"
TABS = (
    Tab("charts", "c", "is it learning, is it healthy?", f"{HERE}.charts:ChartsPane"),
    Tab("logs", "l", "what did it say?", f"{HERE}.logs:LogsPane"),
    Tab("samples", "s", "what does it write, and why that reward?", f"{HERE}.samples:SamplesPane"),
    Tab("evals", "e", "what can it do on held-out problems?", f"{HERE}.evals:EvalsPane"),
    Tab("config", "f", "what is it, and what is not as usual?", f"{HERE}.config:ConfigPane"),
    Tab("events", "v", "what happened to it?", f"{HERE}.events:EventsPane"),
)


class RunScreen(WorkbenchScreen):
    """One run."""

    HEADING = "Run"
    QUESTION = "One run. " + " ".join(f"{tab.name.capitalize()}: {tab.question}" for tab in TABS)
    DEFAULT_CSS = "RunScreen #panes { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(key(tab.letter, f"tab('{tab.name}')", tab.name.capitalize(), f"run.{tab.name}", show=False) for tab in TABS),
        key("tab", "turn(1)", "Next tab", "run.next_tab", show=False),
        key("shift+tab", "turn(-1)", "Previous tab", "run.previous_tab", show=False),
        key("x", "stop", "Stop", "run.stop"),
        key("u", "resume", "Resume", "run.resume", show=False),
        key("n", "clone", "New from this", "run.clone", show=False),
    ]

    def __init__(self, session: Session, run_id: str, tab: str = "charts") -> None:
        super().__init__(session)
        self.run_id = run_id
        self.run = ShownRun(RunSummary(run_id, Path()), session.root / run_id)
        self.tab = tab if any(each.name == tab for each in TABS) else TABS[0].name

    def body(self) -> Iterable[Widget]:
        yield Head()
        yield TabBar([(tab.name, tab.letter) for tab in TABS])
        yield Vertical(id="panes")

    def on_mount(self) -> None:
        self.store_changed(self.session.snapshot)
        self.call_later(self.action_tab, self.tab)

    def visible_runs(self) -> set[str]:
        return {self.run_id}

    def store_changed(self, snapshot: Snapshot) -> None:
        found = snapshot.find(self.run_id)
        if found is not None:
            self.run.summary = found
        elif snapshot.read:
            self.run.summary = RunSummary(
                self.run_id, self.run.directory, problem="its folder is gone; it is shown again if it comes back"
            )
        for head in self.query(Head):
            head.show(self.run.summary, snapshot)
        if (pane := self.pane) is not None:
            pane.news()

    @property
    def pane(self) -> Pane | None:
        """The tab in front, once it is there."""
        return next((pane for pane in self.query(Pane) if pane.display), None)

    def tick(self) -> None:
        """What goes on right now, and the files of the tab in front."""
        if (pane := self.pane) is not None:
            pane.tick()

        def read() -> tuple[int, Activity | None]:
            tried = attempts(self.run.directory)
            course.update()
            return len(tried), read_activity(tried[-1]) if tried else None

        def drawn(found: tuple[int, Activity | None]) -> None:
            self.run.attempts, self.run.activity = found
            left = course.seconds_left(self.run.summary.steps, time.time())
            step = max([self.run.summary.step, *course.steps[-1:]])
            for head in self.query(Head):
                head.now(*found, step, left)

        course = self.session.courses.of(self.run.directory)
        self.work(read, drawn, "head", unless_busy=True)

    async def action_tab(self, name: str) -> None:
        """Bring a tab to the front."""
        tab = next(each for each in TABS if each.name == name)
        self.tab = name
        self.query_one(TabBar).show(name)
        panes = self.query_one("#panes", Vertical)
        for pane in self.query(Pane):
            pane.display = pane.id == f"tab-{name}"
        found = self.pane
        if found is None:
            found = tab.build(self.session, self.run)
            await panes.mount(found)
        found.lead()
        found.news()
        self.tick()

    async def action_turn(self, by: int) -> None:
        """Bring the tab beside it to the front."""
        names = [tab.name for tab in TABS]
        await self.action_tab(names[(names.index(self.tab) + by) % len(names)])

    @on(TabBar.Chosen)
    async def _tab_chosen(self, event: TabBar.Chosen) -> None:
        await self.action_tab(event.name)

    def action_stop(self) -> None:
        stop_runs(self, [self.run.summary])

    def action_resume(self) -> None:
        resume_run(self, self.run.summary)

    def action_clone(self) -> None:
        self.post_message(LaunchFrom(self.run_id))
