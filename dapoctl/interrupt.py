"""Ctrl-C: the first asks the run to stop at a place where its state is whole, the second quits at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequested(BaseException):
    """Raised where the run may be left; not an Exception, so that no component's `except Exception` swallows it."""


class Stopper:
    """Turns SIGINT and SIGTERM into `StopRequested`, held back inside `protected` blocks."""

    def __init__(
        self, announce: Callable[[], None], last_words: str = "quit at once; the last checkpoint on disk is whole"
    ) -> None:
        """`announce` tells the user that the stop was heard; `last_words` are written when a second one quits."""
        self.announce = announce
        self.last_words = last_words
        self.requested = False
        self._protected = 0

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.requested and signum == signal.SIGINT:
            # The user means it: no atexit work, which an engine's threads could hold up.
            os.write(2, f"\n{self.last_words}\n".encode())
            os._exit(130)
        self.requested = True
        self.announce()
        if not self._protected:
            raise StopRequested

    @contextmanager
    def protected(self) -> Iterator[None]:
        """A block that must not be left in the middle; a stop that was asked for meanwhile is raised at its end."""
        self._protected += 1
        try:
            yield
        finally:
            self._protected -= 1
        if self.requested and not self._protected:
            raise StopRequested

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals in this block; outside the main thread nothing is installed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
