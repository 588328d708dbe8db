"""The clock strikes, the store is read and threads come back while a screen is being taken down.

Slow: it takes seconds to go from each of the screens while its footer lingers.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from textual.containers import Vertical
from textual.widgets import Footer

from dapoctl.tui import app as app_module
from dapoctl.tui.app import PLACES
from dapoctl.tui.screen import WorkbenchScreen
from tests.support.stores import add_run
from tests.support.tui import NARROW, View, bench, play

OFTEN, LONG = 0.05, 0.3
KEYS = [*(str(digit) for digit in range(1, len(PLACES) + 1)), "enter"]


@pytest.fixture(autouse=True)
def slow_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen's footer takes its time to go, and the clock strikes often meanwhile."""

    async def linger(_footer: Footer) -> None:
        await asyncio.sleep(LONG)

    monkeypatch.setattr(Footer, "on_unmount", linger)
    monkeypatch.setattr(app_module, "TICK", OFTEN)
    monkeypatch.setattr(app_module, "STATES_EVERY", OFTEN)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_the_app_ends_while_the_clock_strikes(key: str, tmp_path: Path) -> None:
    add_run(tmp_path, "only", steps=3)

    async def story() -> None:
        async with bench(tmp_path, NARROW) as view:
            await view.press(key)
            await view.pilot.pause(0.1)
            # Away, without the word that stops all clocks, as when the terminal is gone.

    play(story())


@pytest.mark.parametrize("fails", [False, True])
def test_a_thread_comes_back_to_a_screen_that_is_being_left(fails: bool, tmp_path: Path) -> None:
    add_run(tmp_path, "only", steps=3)
    called: list[None] = []

    def slow() -> None:
        time.sleep(LONG / 2)
        if fails:
            raise ValueError("too late")

    def then(_result: None) -> None:
        called.append(None)

    async def story() -> None:
        async with bench(tmp_path, NARROW) as view:
            await view.press("enter")
            left = await opened(view)
            left.work(slow, then, "late")
            await view.press("escape")
            await view.pilot.pause(2 * LONG)
            assert not left.is_attached
            assert not view.app.screen.query_one("#cards", Vertical).children

    play(story())
    assert not called


async def opened(view: View) -> WorkbenchScreen:
    """The screen of the run, once it is there."""
    await view.until(lambda _text: len(view.app.screen_stack) == 2 and view.app.front)
    front = view.app.front
    assert front is not None
    return front
