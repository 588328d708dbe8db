"""Charts: is it learning, is it healthy?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from dapoctl.tui.keys import key
from dapoctl.tui.run.chart_grid import SMOOTH, ChartGrid
from dapoctl.tui.run.health_strip import health_page
from dapoctl.tui.widgets.chart import Chart
from dapoctl.tui.widgets.text_view import TextPage


class ChartsPane(ChartGrid):
    """The charts with their keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("enter", "zoom", "Zoom", "charts.zoom"),
        key("escape", "shrink", "All charts", "charts.shrink", show=False),
        key("g", "log", "Log scale", "charts.log"),
        key("m", "smooth", "Smooth", "charts.smooth"),
        key("o", "overlay", "Overlay", "charts.overlay"),
        key("i", "readout", "Read", "charts.readout"),
        key("h", "health", "Health", "charts.health", show=False),
        key("up,k", "go(0, -1)", "Up", "charts.up", show=False),
        key("down,j", "go(0, 1)", "Down", "charts.down", show=False),
        key("left", "go(-1, 0)", "Left, or an earlier step", "charts.left", show=False),
        key("right", "go(1, 0)", "Right, or a later step", "charts.right", show=False),
        key("shift+left", "jump(-0.1)", "Far earlier", "charts.far_left", show=False),
        key("shift+right", "jump(0.1)", "Far later", "charts.far_right", show=False),
        key("home", "jump(-1)", "First chart or step", "charts.first", show=False),
        key("end", "jump(1)", "Last chart or step", "charts.last", show=False),
    ]

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape leaves the screen unless a chart is zoomed."""
        return self.zoomed is not None if action == "shrink" else super().check_action(action, parameters)

    def place(self) -> int:
        """Which of the panels the keys are about."""
        if self.zoomed is not None:
            return self.zoomed
        charts: Sequence[Widget] = self.charts
        return charts.index(self.screen.focused) if self.screen.focused in charts else 0

    def action_zoom(self) -> None:
        if self.zoomed is not None:
            self.action_shrink()
        elif self.panels:
            self.zoomed = self.place()
            self.show()
            self.query_one("#zoom").focus()

    @on(Chart.Chosen)
    def _chart_chosen(self, event: Chart.Chosen) -> None:
        if event.chart.id != "zoom":
            event.chart.focus()
            self.zoomed = self.charts.index(event.chart)
        else:
            self.zoomed = None
        self.show()

    def action_shrink(self) -> None:
        place, self.zoomed = self.place(), None
        self.show()
        self._focus(place)

    def _focus(self, place: int) -> None:
        charts = self.charts
        if charts:
            charts[max(0, min(place, len(charts) - 1))].focus()

    def action_log(self) -> None:
        self.view = replace(self.view, log=not self.view.log)
        self.show()

    def action_smooth(self) -> None:
        self.level = (self.level + 1) % len(SMOOTH)
        self.show()

    def action_overlay(self) -> None:
        self.overlaid = not self.overlaid
        if self.overlaid and not self.others():
            self.overlaid = False
            words = "nothing to overlay: on the screen of runs, space marks runs and p pins the baseline"
            self.app.notify(words, markup=False)
            return
        self.material.keep(self._paths())
        self.tick()
        self.call_later(self.draw)

    def action_readout(self) -> None:
        self.reading = not self.reading
        cursor = self.view.span[1] if self.reading else None
        self.view = replace(self.view, cursor=cursor)
        self.show()

    def action_health(self) -> None:
        self.app.push_screen(TextPage("health", health_page(self.health)))

    def action_go(self, across: int, down: int) -> None:
        """To another chart; to another step where steps are read."""
        if across and self.reading:
            self._read_off(across)
        elif self.zoomed is not None:
            self.zoomed = (self.zoomed + across + down) % max(1, len(self.panels))
            self.show()
        else:
            place = self.place() + across + down * self._columns
            if 0 <= place < len(self.charts):
                self._focus(place)

    def action_jump(self, share: float) -> None:
        """Far to the side: by a part of the steps where they are read, else to the first or the last chart."""
        if self.reading:
            low, high = self.view.span
            cursor = (self.view.cursor or low) + share * (high - low)
            self.view = replace(self.view, cursor=max(low, min(high, cursor)))
            self._read_off(0)
        elif self.zoomed is None:
            self._focus(0 if share < 0 else len(self.charts) - 1)

    def _read_off(self, by: int) -> None:
        """Move the step that is read by a point of the curve, or by a column of dots where there are more points."""
        if not self.panels:
            return
        found = self.curves(self.panels[self.place()])
        cursor = self.view.span[1] if self.view.cursor is None else self.view.cursor
        if found and len(found[0].steps):
            steps = found[0].steps
            chart = self.query_one("#zoom", Chart) if self.zoomed is not None else self.charts[self.place()]
            stride = max(1, len(steps) // max(1, chart.size.width * 2))
            here = max(0, int(steps.searchsorted(cursor, side="right")) - 1)
            cursor = float(steps[max(0, min(here + by * stride, len(steps) - 1))])
        self.view = replace(self.view, cursor=cursor)
        self.show()
