"""Screens that work something out for seconds, and give it up when something newer is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dapoctl.tui.comparing import GivenUp
from dapoctl.tui.screens.base import BenchScreen

T = TypeVar("T")
Check = Callable[[], None]
"""Raises GivenUp when nobody waits for the result any more"""


class WorkingScreen(BenchScreen):
    """A screen with a head that says whether it is busy."""

    busy = False

    def draw_head(self) -> None:
        """Draw the head again."""

    def work_out(self, function: Callable[[Check], T], then: Callable[[T], None], group: str) -> None:
        """Do `function` in a thread and then `then` with its result; what it raises becomes a card."""
        self.busy = True
        self.draw_head()

        def inside() -> tuple[T | None, Exception | None]:
            worker = self._current_worker()

            def check() -> None:
                if worker is not None and worker.is_cancelled:
                    raise GivenUp

            try:
                return function(check), None
            except Exception as error:  # noqa: BLE001 (it becomes a card, whatever it is)
                return None, error

        def done(outcome: tuple[T | None, Exception | None]) -> None:
            self.busy = False
            result, error = outcome
            if error is None:
                then(result)  # type: ignore[arg-type]
                return
            self.draw_head()
            if not isinstance(error, GivenUp):
                self.show_error(error)

        self.work(inside, done, group)
