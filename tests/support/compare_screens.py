"""Driving the screens that compare: what stands on them, and waiting for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from dapoctl.tui.app import Workbench
from dapoctl.tui.compare.screen import CompareScreen
from dapoctl.tui.compare.transcript import Transcript
from dapoctl.tui.compare.transcripts_screen import TranscriptsScreen

SIZES = [(80, 24), (160, 50)]
Story = Callable[[Pilot[None]], Awaitable[None]]


def play(root: Path, size: tuple[int, int], story: Story, app: Workbench | None = None, **options: Any) -> Workbench:
    """Run `story` against the app on a store."""
    bench = app or Workbench(root, **options)

    async def inside() -> None:
        async with bench.run_test(size=size) as pilot:
            await until(pilot, lambda: bench.session.snapshot.read)
            await story(pilot)

    asyncio.run(inside())
    return bench


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "\n".join(shown(pilot))
        await pilot.pause(0.02)
    await pilot.pause()


def shown(pilot: Pilot[None]) -> list[str]:
    """The lines on the screen."""
    return [strip.text.rstrip() for strip in pilot.app.screen._compositor.render_strips()]


def text(pilot: Pilot[None]) -> str:
    """Everything on the screen as running text."""
    return " ".join(" ".join(shown(pilot)).split())


def bench_of(pilot: Pilot[None]) -> Workbench:
    assert isinstance(pilot.app, Workbench)
    return pilot.app


def screen_of(pilot: Pilot[None]) -> CompareScreen:
    screen = pilot.app.screen
    assert isinstance(screen, CompareScreen), screen
    return screen


async def compared(pilot: Pilot[None], words: list[str], set_: str | None = None) -> CompareScreen:
    """Go to Compare with these runs, and wait for the figures."""
    await bench_of(pilot).compare_runs(words, set_)
    await settled(pilot)
    return screen_of(pilot)


async def settled(pilot: Pilot[None]) -> None:
    """Wait until nothing is being worked out."""
    screen = screen_of(pilot)
    await until(pilot, lambda: screen.found is not None and not screen.busy)


async def transcripts(pilot: Pilot[None]) -> TranscriptsScreen:
    """Wait for the two texts."""
    await until(pilot, lambda: isinstance(pilot.app.screen, TranscriptsScreen) and pilot.app.screen.pair is not None)
    screen = pilot.app.screen
    assert isinstance(screen, TranscriptsScreen)
    await until(pilot, lambda: all(column.laid.lines for column in screen.query(Transcript)))
    return screen
