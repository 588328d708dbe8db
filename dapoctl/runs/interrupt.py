"""Ctrl-C: the first asks the run to stop at a place where its state is whole, the second quits at once.

SIGTERM asks too, and SIGHUP: the terminal was closed, or its connection lost.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

LAST_WORDS = 1.0
"""Seconds that an announcement may take before things go on without it"""


class StopRequested(BaseException):
    """Raised where the run may be left; not an Exception, so that no component's `except Exception` swallows it."""


class Stopper:
    """Turns SIGINT, SIGTERM and SIGHUP into `StopRequested`, held back inside `protected` blocks."""

    def __init__(
        self, announce: Callable[[], None], last_words: str = "quit at once; the last checkpoint on disk is whole"
    ) -> None:
        """`announce`, called from a thread, tells the user that the stop was heard; `last_words` are for a second one."""
        self.announce = announce
        self.last_words = last_words
        self.requested = False
        self._protected = 0
        self._announced = threading.Event()

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.requested:
            if signum == signal.SIGINT:
                # The user means it: no atexit work, which an engine's threads could hold up.
                os.write(2, f"\n{self.last_words}\n".encode())
                os._exit(130)
            # Raised a second time, it would cut off what the first one led to: a checkpoint.
            return
        self.requested = True
        # This thread may be in the middle of a write to the very stream that the announcement goes to, and Python refuses to
        # enter a stream twice. A `threading.Thread` takes locks that it may be holding, too.
        _thread.start_new_thread(self._tell, ())
        if not self._protected:
            raise StopRequested

    def _tell(self) -> None:
        with suppress(Exception):
            self.announce()
        self._announced.set()

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
        """Handle the signals in this block; outside the main thread nothing is installed.

        SIGHUP stays ignored where it was ignored, as under nohup.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        previous = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            if self.requested:
                self._announced.wait(LAST_WORDS)
