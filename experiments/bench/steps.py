"""How long the event loop is kept busy at a time, and by which handlers: nothing is drawn and no key is heard meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from textual.events import Key
from textual.message_pump import MessagePump
from textual.screen import Screen


@dataclass(frozen=True)
class Step:
    """One turn of the event loop."""

    seconds: float
    """On the clock"""
    cpu: float
    """Of this thread; less than `seconds` where other threads or processes had the core"""
    handlers: tuple[str, ...]
    """`Widget <- Message` of what was dispatched in it"""

    @property
    def name(self) -> str:
        """What it did, in a few words."""
        return ", ".join(dict.fromkeys(self.handlers[:3])) or "a task or a callback"


def worst(rounds: Sequence[Sequence[Step]]) -> dict[str, float]:
    """By name, the longest turn in CPU seconds; of several rounds the best, as other processes only ever add to it."""
    longest = [{step.name: step.cpu for step in sorted(steps, key=lambda step: step.cpu)} for steps in rounds]
    names = {name for found in longest for name in found}
    return {name: min(found.get(name, 0.0) for found in longest) for name in names}


@contextlib.contextmanager
def recorded(longer_than: float = 0.005) -> Iterator[list[Step]]:
    """Every turn of the event loop inside the block that took longer."""
    found: list[Step] = []
    current: list[str] = []
    run, dispatch = asyncio.events.Handle._run, MessagePump._dispatch_message  # type: ignore[attr-defined]
    draw = Screen._on_timer_update

    def timed(handle: Any) -> None:
        current.clear()
        begun, cpu = time.perf_counter(), time.thread_time()
        try:
            run(handle)
        finally:
            took = time.perf_counter() - begun
            if took > longer_than:
                found.append(Step(took, time.thread_time() - cpu, tuple(current)))

    async def named(pump: MessagePump, message: Any) -> None:
        pressed = f" {message.key}" if isinstance(message, Key) else ""
        current.append(f"{type(pump).__name__} <- {type(message).__name__}{pressed}")
        await dispatch(pump, message)

    def drawn(screen: Any) -> None:
        current.append(f"{type(screen).__name__} is drawn")
        draw(screen)

    Screen._on_timer_update = drawn  # type: ignore[method-assign]
    asyncio.events.Handle._run = timed  # type: ignore[attr-defined]
    MessagePump._dispatch_message = named  # type: ignore[method-assign]
    try:
        yield found
    finally:
        asyncio.events.Handle._run = run  # type: ignore[attr-defined]
        MessagePump._dispatch_message = dispatch  # type: ignore[method-assign]
        Screen._on_timer_update = draw  # type: ignore[method-assign]
