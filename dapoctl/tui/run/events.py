"""Events: what happened to it?"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rich.text import Text
from textual import on
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.runs.files import read_lines
from dapoctl.tui.run.pane import Pane, ShownRun
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.text_view import TextPage
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import data, line

EVENTS = "events.jsonl"
STYLES = {"warning": "yellow", "failed": "red", "finished": "green"}
APART = ("time", "attempt", "event")
MOST = 10_000
"""Events that are shown, the last ones"""
EMPTY = "\nNothing happened yet: warnings, resumptions and how each attempt ended appear here."


class EventList(VirtualList):
    """Events, the last one below."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def count(self) -> int:
        return len(self.events)

    def row(self, index: int, width: int) -> Text:  # noqa: ARG002
        event = self.events[index]
        kind = line(str(event.get("event", "?")))
        text = Text(f"{moment(event.get('time'))}  {line(str(event.get('attempt', '?'))):>3}  ", end="")
        text.append(f"{kind:<10} ", STYLES.get(kind, ""))
        return text.append(line(details(event)))


class EventsPane(Pane):
    """What the run noted of itself."""

    LEADS = "EventList"

    def __init__(self, session: Session, run: ShownRun, id: str) -> None:  # noqa: A002
        super().__init__(session, run, id)
        self._seen: tuple[int, float] = (-1, 0.0)

    def compose(self) -> Iterable[Widget]:
        yield Static(data("time                 attempt  event", "bold dim"), id="events-head", markup=False)
        yield Static(data(EMPTY), id="events-empty", markup=False)
        yield EventList()

    def on_mount(self) -> None:
        self.show([])

    def show(self, events: list[dict[str, Any]]) -> None:
        """Show these; the cursor stays at the end if it was there."""
        found = self.query_one(EventList)
        at_end = found.cursor >= len(found.events) - 1
        found.events = events
        found.refresh_rows(len(events) - 1 if at_end else None)
        self.query_one("#events-empty").display = not events
        self.query_one("#events-head").display = bool(events)

    def tick(self) -> None:
        path, seen = self.directory / EVENTS, self._seen

        def read() -> tuple[tuple[int, float], list[dict[str, Any]] | None]:
            try:
                stat = path.stat()
            except OSError:
                return (0, 0.0), [] if seen != (0, 0.0) else None
            now = stat.st_size, stat.st_mtime
            return now, None if now == seen else [row for row in read_lines(path) if "schema" not in row][-MOST:]

        def drawn(found: tuple[tuple[int, float], list[dict[str, Any]] | None]) -> None:
            self._seen, events = found
            if events is not None:
                self.show(events)

        self.work(read, drawn, "events", unless_busy=True)

    @on(VirtualList.Chosen)
    def _row_chosen(self, event: VirtualList.Chosen) -> None:
        event.stop()
        row = self.query_one(EventList).events[event.index]
        words = "\n".join(f"{name:<10} {value}" for name, value in row.items() if name != "time")
        self.app.push_screen(TextPage("event", f"{moment(row.get('time'))}\n{words}"))


def moment(value: Any) -> str:
    """A time as `2026-11-25 21:07:41`."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(value)))
    except (TypeError, ValueError, OverflowError, OSError):
        return f"{'?':<19}"


def details(event: dict[str, Any]) -> str:
    """What an event says besides when and what it was."""
    rest = {name: value for name, value in event.items() if name not in APART and value not in ("", None)}
    if [*rest] == ["message"] or [*rest] == ["error"]:
        return str(next(iter(rest.values())))
    return ", ".join(f"{name} {value}" for name, value in rest.items())
