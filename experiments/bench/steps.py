"""How long the event loop is blocked at a time, and by which handlers: meanwhile nothing is drawn and keys are not handled."""

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
    """Wall-clock time"""
    cpu: float
    """CPU time of this thread; less than `seconds` if other threads or processes had the core"""
    handlers: tuple[str, ...]
    """`Widget <- Message` for each dispatched message"""

    @property
    def name(self) -> str:
        """A short description of what it did."""
        return ", ".join(dict.fromkeys(self.handlers[:3])) or "a task or a callback"


def worst(rounds: Sequence[Sequence[Step]]) -> dict[str, float]:
    """The longest turn in CPU seconds, by name; the minimum over rounds, since other processes can only add to it."""
    longest = [{step.name: step.cpu for step in sorted(steps, key=lambda step: step.cpu)} for steps in rounds]
    names = {name for turns in longest for name in turns}
    return {name: min(turns.get(name, 0.0) for turns in longest) for name in names}


@contextlib.contextmanager
def recorded(longer_than: float = 0.005) -> Iterator[list[Step]]:
    """Every turn of the event loop inside the block that took longer than `longer_than` seconds."""
    turns: list[Step] = []
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
                turns.append(Step(took, time.thread_time() - cpu, tuple(current)))

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
        yield turns
    finally:
        asyncio.events.Handle._run = run  # type: ignore[attr-defined]
        MessagePump._dispatch_message = dispatch  # type: ignore[method-assign]
        Screen._on_timer_update = draw  # type: ignore[method-assign]
