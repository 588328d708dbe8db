"""What the tabs of a run have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from textual.containers import Vertical

from dapoctl.runs.attempts import Activity
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.session import Session

T = TypeVar("T")


@dataclass
class ShownRun:
    """The run that a screen shows, as it was last read; the screen and its tabs share it."""

    summary: RunSummary
    directory: Path
    activity: Activity | None = None
    """What goes on right now"""
    attempts: int = 0


class Pane(Vertical):
    """A tab. It is made when it is first looked at, and told of news only while it is in front."""

    DEFAULT_CSS = "Pane { height: 1fr; }"
    LEADS = ""
    """Selector of the widget that takes the keys"""

    def __init__(self, session: Session, run: ShownRun, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.session, self.run, self.directory = session, run, run.directory

    @property
    def workbench_screen(self) -> WorkbenchScreen:
        """The screen that it is part of."""
        return cast("WorkbenchScreen", self.screen)

    @property
    def there(self) -> bool:
        """Whether its widgets are: a thread may come back after the screen has gone."""
        return self.is_attached and bool(self.children)

    def news(self) -> None:
        """The store was looked at again."""

    def tick(self) -> None:
        """Twice a second: look at the files that are shown."""

    def lead(self) -> None:
        """Take the keys."""
        for widget in self.query(self.LEADS).results():
            if widget.focusable and widget.display:
                widget.focus(scroll_visible=False)
                return
        self.screen.set_focus(None)

    def work(self, function: Callable[[], T], then: Callable[[T], None], group: str, unless_busy: bool = False) -> None:
        """As the screen's `work`, unless the tab's widgets have gone meanwhile."""

        def draw(result: T) -> None:
            if self.there:
                then(result)

        self.workbench_screen.work(function, draw, f"{self.id}-{group}", unless_busy)

    def give_up(self, group: str) -> None:
        """As the screen's."""
        self.workbench_screen.give_up(f"{self.id}-{group}")
