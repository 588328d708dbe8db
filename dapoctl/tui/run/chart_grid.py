"""The charts of a run and what they are made of: read in a thread, drawn some at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from textual import events
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.tui.run.chart_data import Material
from dapoctl.tui.run.health_strip import HealthStrip, health_of
from dapoctl.tui.run.pane import Pane, ShownRun
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.chart import Chart, View
from dapoctl.tui.widgets.curves import Curve
from dapoctl.tui.widgets.renew import renew
from dapoctl.views.health import Health
from dapoctl.views.metrics import Panel, written
from dapoctl.views.runs import called
from dapoctl.views.text import data, line

SMOOTH = (0.0, 0.8, 0.95)
"""What `m` turns through: none, over about 5 steps, over about 20"""
WIDE, TALL, LOW = 40, 8, 6
"""Columns of a chart; its rows where there is room, and where there is little"""
TOGETHER = 5
"""Charts that are drawn in one turn of the event loop: no key waits for more of them"""
BETWEEN = 1 / 30
"""Seconds from some charts to the next, twice as long as Textual may wait before it draws"""
EMPTY = "\nNo metrics yet: they appear with the first step. Meanwhile `l` shows what the run says."


class ChartGrid(Pane):
    """A grid of curves below a line about the health of the run. A subclass adds the keys."""

    LEADS = "Chart"

    DEFAULT_CSS = """
    ChartGrid #grid { layout: grid; grid-gutter: 0 1; height: 1fr; }
    ChartGrid #zoom { height: 1fr; }
    ChartGrid #legend, ChartGrid #facts { height: auto; max-height: 2; color: $text-muted; }
    """

    def __init__(self, session: Session, run: ShownRun, id: str) -> None:  # noqa: A002
        super().__init__(session, run, id)
        self.view = View()
        self.reading = self.overlaid = False
        self.level = 0
        self.panels: list[Panel] = []
        self.zoomed: int | None = None
        self.health = Health()
        self.material = Material(run.directory)
        self._columns = 1
        self._waiting: dict[int, None] = {}
        """Places of the charts that are still to be drawn, the next one first"""
        self._drawing = False
        self._judged: object = None

    def compose(self) -> Iterable[Widget]:
        yield HealthStrip()
        yield Static(id="legend", markup=False)
        yield VerticalScroll(id="grid", can_focus=False)
        yield Chart("", id="zoom")
        yield Static(id="facts", markup=False)
        yield Static(EMPTY, id="empty", markup=False)

    def on_mount(self) -> None:
        self.query_one("#zoom").display = False
        self._labels()

    # What is drawn.

    def others(self) -> list[str]:
        """Ids of the runs that are laid over this one."""
        session = self.session
        found = [session.baseline, *session.marked] if session.baseline else [*session.marked]
        return [run for run in dict.fromkeys(found) if run != self.directory.name] if self.overlaid else []

    def _paths(self) -> list[Path]:
        return [self.session.root / run for run in self.others()]

    def tick(self) -> None:
        courses = [(path, self.session.courses.of(path)) for path in (self.directory, *self._paths())]
        run = self.run.summary
        state = run.state, run.created, run.why

        def read() -> tuple[bool, Health]:
            changed = self.material.read(courses)
            if changed or state != self._judged:
                self._judged = state
                return changed, health_of(courses[0][1], run)
            return changed, self.health

        self.work(read, self._drawn, "read", unless_busy=True)

    def _drawn(self, found: tuple[bool, Health]) -> None:
        changed, self.health = found
        self.query_one(HealthStrip).show(self.health)
        if changed or not self.panels:
            self.call_later(self.draw)

    async def draw(self) -> None:
        """Give every chart its curves; charts of new metrics are made."""
        if not self.there:
            return
        found = self.material.panels()
        grid = self.query_one("#grid", VerticalScroll)
        if found != self.panels:
            self.panels = found
            self.zoomed = self.zoomed if self.zoomed is not None and self.zoomed < len(found) else None
            await grid.remove_children()
            await grid.mount(*(Chart(panel.title, partial(written, panel.main)) for panel in found))
            if self.display and not isinstance(self.screen.focused, Chart):
                self.lead()
        self.query_one("#empty").display = not found
        if (span := self.material.span()) is not None:
            self.view = replace(self.view, span=span)
        self._arrange()
        self.show()

    def show(self) -> None:
        """Draw again with the same curves."""
        zoom = self.query_one("#zoom", Chart)
        if self.zoomed is not None and self.zoomed < len(self.panels):
            panel = self.panels[self.zoomed]
            zoom.heading, zoom.write = panel.title, partial(written, panel.main)
            zoom.show(partial(self.curves, panel), self.view)
        self._labels()
        # What waits already stays in front: a key that is held down must not keep the last charts from their turn.
        self._waiting |= dict.fromkeys(range(len(self.panels)))
        if not self._drawing:
            self._draw_some()

    def _draw_some(self) -> None:
        self._drawing = False
        if self.zoomed is not None or not self.there:
            return
        here, charts, drawn = self.query_one("#grid").region, self.charts, 0
        for place in [*self._waiting]:
            if place < min(len(charts), len(self.panels)):
                chart = charts[place]
                # One that is scrolled away costs nothing; of one without a size it is not known yet.
                drawn += not chart.size or here.overlaps(chart.region)
                if drawn > TOGETHER:
                    break
                chart.show(partial(self.curves, self.panels[place]), self.view)
            del self._waiting[place]
        if self._waiting:
            self._drawing = True
            self.set_timer(BETWEEN, self._draw_some)

    def curves(self, panel: Panel) -> list[Curve]:
        """What a chart draws."""
        return self.material.curves(panel, self._paths(), SMOOTH[self.level])

    @property
    def charts(self) -> list[Chart]:
        """The grid's charts."""
        return [*self.query("#grid Chart").results(Chart)]

    def _arrange(self) -> None:
        grid = self.query_one("#grid", VerticalScroll)
        room = max(
            1, self.size.height - self.query_one(HealthStrip).size.height - self.query_one("#legend").size.height
        )
        self._columns = max(1, min(4, self.size.width // WIDE))
        rows = max(1, room // (TALL if room >= 3 * TALL else LOW))
        grid.styles.grid_size_columns = self._columns
        grid.styles.grid_rows = str(max(4, room // rows))
        for chart in self.charts:
            chart.styles.height = max(4, room // rows)

    def on_resize(self, _event: events.Resize) -> None:
        self._arrange()

    def _labels(self) -> None:
        words = []
        if self.level:
            words.append(f"smooth {SMOOTH[self.level]:g} (the raw course is faint)")
        if self.view.log:
            words.append("log scale")
        if self.reading:
            words.append("←→ move the step that is read")
        names = [f"{index} {self._called(run)}" for index, run in enumerate(self.others(), 1)]
        legend = self.query_one("#legend", Static)
        renew(legend, data("  ".join([*names, *words])))
        legend.display = bool(names or words)
        zoomed = self.zoomed is not None
        self.query_one("#grid").display = bool(self.panels) and not zoomed
        facts = self.query_one("#facts", Static)
        facts.display = self.query_one("#zoom").display = zoomed
        if self.zoomed is not None and self.zoomed < len(self.panels):
            facts.update(data(self.material.facts(self.panels[self.zoomed])))

    def _called(self, run: str) -> str:
        found = self.session.snapshot.find(run)
        return f"{called(found) if found else line(run)}{' (baseline)' if run == self.session.baseline else ''}"
