"""Looking through a log in a thread: one search at a time, with its progress in words, which can be given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dapoctl.tui.run.pane import Pane
from dapoctl.tui.screen import is_wanted

T = TypeVar("T")
Told = Callable[[float], bool]
"""Is told the share that is done, and says whether to go on"""


class Finder:
    """The searches of a pane."""

    def __init__(self, pane: Pane, changed: Callable[[], None]) -> None:
        """`changed` is called in the app when `words` is something else."""
        self.pane, self.changed = pane, changed
        self.words = ""
        """What goes on; empty when nothing does"""
        self._number = 0

    def start(self, what: str, function: Callable[[Told], T], then: Callable[[T], None]) -> None:
        """Do `function` in a thread, then `then` with its result in the app, unless it was given up."""
        self._number += 1
        number, self.words = self._number, what

        def told(share: float) -> bool:
            going = is_wanted() and number == self._number
            if going:
                self.words = f"{what} {100 * share:.0f}% (esc gives up)"
            return going

        def done(result: T) -> None:
            if number == self._number:
                self.words = ""
                then(result)
                self.changed()

        self.pane.work(lambda: function(told), done, "search")
        self.changed()

    def give_up(self) -> None:
        """End the search that goes on."""
        self._number += 1
        self.words = ""
        self.changed()
