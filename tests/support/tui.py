"""The terminal UI in tests: opened on a store, driven by keys, read as text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from dapoctl.tui.app import Workbench

NARROW, WIDE, SMALL = (80, 24), (160, 50), (40, 12)
SIZES = (NARROW, WIDE, SMALL)


class View:
    """What a person has before them: a screen to read and keys to press."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self.pilot = pilot
        app = pilot.app
        assert isinstance(app, Workbench)
        self.app: Workbench = app

    def lines(self) -> list[str]:
        """The screen's lines, without the blanks at their ends."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        """The screen's lines as one text."""
        return "\n".join(self.lines())

    def line(self, part: str) -> str:
        """The first line that has `part` in it."""
        found = next((line for line in self.lines() if part in line), None)
        assert found is not None, f"no line with {part!r}:\n{self.text}"
        return found

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self.pilot.press(*keys)

    async def type(self, words: str) -> None:
        """Type a text, letter by letter."""
        names = {" ": "space", "/": "slash", ".": "full_stop", "=": "equals_sign", ">": "greater_than_sign",
                 "_": "underscore", "-": "minus", ",": "comma", ":": "colon", "<": "less_than_sign"}  # fmt: skip
        await self.pilot.press(*(names.get(letter, letter) for letter in words))

    async def until(self, what: str | Callable[[str], object], seconds: float = 20.0) -> str:
        """The screen's text as soon as `what` is in it, or is true of it.

        Raises:
            AssertionError: it is not, within `seconds`; with the screen.
        """
        return await self._wait(lambda text: what in text if isinstance(what, str) else what(text), seconds, what)

    async def until_gone(self, part: str, seconds: float = 20.0) -> str:
        """The screen's text as soon as `part` is no longer in it."""
        return await self._wait(lambda text: part not in text, seconds, f"no more {part!r}")

    async def _wait(self, true: Callable[[str], object], seconds: float, what: object) -> str:
        deadline = time.monotonic() + seconds
        while True:
            text = self.text
            if true(text):
                return text
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{text}"
            await self.pilot.pause(0.02)

    async def resize(self, width: int, height: int) -> None:
        """Make the terminal another size."""
        await self.pilot.resize_terminal(width, height)


@asynccontextmanager
async def bench(
    root: Path, size: tuple[int, int] = NARROW, readonly: bool = False, keymap: Path | None = None
) -> AsyncIterator[View]:
    """`dapoctl tui` on the store at `root`, looked at once; what the app raises fails the test."""
    app = Workbench(root, readonly=readonly, keymap=keymap)
    async with app.run_test(size=size, notifications=True) as pilot:
        view = View(pilot)
        await view.until(lambda _text: app.session.snapshot.read)
        await pilot.pause()
        yield view


def play(story: Coroutine[Any, Any, None]) -> None:
    """Run a story to its end."""
    asyncio.run(story)


def own_leases(monkeypatch: pytest.MonkeyPatch, folder: Path, slots: int = 1) -> None:
    """Let what the app starts in this process lease slots of its own, and keep no hub and no other store in mind."""
    for name, value in {
        "DAPOCTL_LEASES": str(folder / "leases"),
        "DAPOCTL_SLOTS": str(slots),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }.items():
        monkeypatch.setenv(name, value)
