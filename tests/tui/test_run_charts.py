"""Many charts are drawn a few at a time: keys are heard in between, and none of the charts waits forever."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip

from dapoctl.tui.run.chart_grid import TOGETHER
from dapoctl.tui.run.charts import ChartsPane
from dapoctl.tui.widgets.chart import Chart
from tests.support.stores import add_run
from tests.support.tui import WIDE, View, bench, play

RUN = "20260101-000001-many-0001"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A run with thirty metrics."""
    add_run(tmp_path, RUN, steps=50, metrics=lambda step: {f"own/m{n:02}": math.sin(step / (n + 1)) for n in range(30)})
    return tmp_path


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[set[Chart]]:
    """The charts with a picture that were drawn, by turn of the event loop."""
    found: list[set[Chart]] = [set()]
    render_lines, render_update = Chart.render_lines, Compositor.render_update

    def lines(chart: Chart, crop: Region) -> list[Strip]:
        old, drawn = chart._picture, render_lines(chart, crop)
        if chart._picture is not None and chart._picture is not old:
            found[-1].add(chart)
        return drawn

    def update(compositor: Compositor, *args: Any, **options: Any) -> Any:
        found.append(set())
        return render_update(compositor, *args, **options)

    monkeypatch.setattr(Chart, "render_lines", lines)
    monkeypatch.setattr(Compositor, "render_update", update)
    return found


async def drawn(view: View) -> ChartsPane:
    """The pane, once every chart is drawn as its view is."""
    pane = view.app.screen.query_one(ChartsPane)
    await view.until(lambda _text: len(pane.charts) == 30 and not pane._waiting)
    await view.pilot.pause()
    return pane


def test_a_turn_draws_a_few_charts(store: Path, turns: list[set[Chart]]) -> None:
    async def story() -> None:
        async with bench(store, WIDE) as view:
            await view.press("enter")
            pane = await drawn(view)
            first = set.union(*turns)
            assert len(first) > 3 * TOGETHER
            assert max(map(len, turns)) < len(first)
            turns[:] = [set()]
            await view.press("g")
            await drawn(view)
            assert set.union(*turns) == first
            # Five, unless two timers meet because the machine is busy.
            assert max(map(len, turns)) < len(first)
            assert all(chart.view.log for chart in pane.charts)

    play(story())


def test_the_last_chart_is_drawn_while_a_key_is_held_down(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Chart] = []
    show = Chart.show

    def note(chart: Chart, *args: Any) -> None:
        shown.append(chart)
        show(chart, *args)

    monkeypatch.setattr(Chart, "show", note)

    async def story() -> None:
        async with bench(store, WIDE) as view:
            await view.press("enter")
            pane = await drawn(view)
            await view.press("i")
            await drawn(view)
            shown.clear()
            keys = 0
            while pane.charts[-1] not in shown and keys < 40:
                # As fast as a terminal repeats it: there is no pause in which all that waits could be drawn.
                pane.action_go(-1, 0)
                keys += 1
                await asyncio.sleep(1 / 30)
            assert pane.charts[-1] in shown
            await drawn(view)
            assert {chart.view.cursor for chart in pane.charts} == {50 - keys}

    play(story())


def test_charts_that_waited_under_a_zoom_are_drawn_after_it(store: Path) -> None:
    async def story() -> None:
        async with bench(store, WIDE) as view:
            await view.press("enter")
            pane = await drawn(view)
            await view.press("enter", "g")
            await view.pilot.pause()
            zoom = pane.query_one("#zoom", Chart)
            assert (zoom.view.log, pane.charts[0].view.log) == (True, False)
            await view.press("escape")
            await drawn(view)
            assert all(chart.view.log for chart in pane.charts)

    play(story())
