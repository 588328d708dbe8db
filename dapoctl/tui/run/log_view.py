"""A window on a log: the lines around the cursor are in memory, whoever feeds it is asked for more near their ends."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from dapoctl.runs.logfile import ERROR, Row
from dapoctl.views.text import line

ASIDE = 16
"""Columns that an arrow to the side moves by"""
FAILURE = re.compile(ERROR.pattern.pattern.decode())


class LogView(Widget, can_focus=True):
    """Lines of a log with a cursor."""

    DEFAULT_CSS = """
    LogView { height: 1fr; background: $background; }
    LogView > .log--cursor { background: $primary 30%; }
    LogView:focus > .log--cursor { background: $primary 60%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--cursor"}
    ALLOW_SELECT: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="log.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="log.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="log.page_up"),
        Binding("pagedown,space", "page(1)", "Page down", show=False, id="log.page_down"),
        Binding("left", "aside(-1)", "Left", show=False, id="log.left"),
        Binding("right", "aside(1)", "Right", show=False, id="log.right"),
        Binding("enter", "choose", "Whole line", show=False, id="log.line"),
    ]

    class Moved(Message):
        """The cursor is on another line."""

    class NearEdge(Message):
        """Lines beyond those that are here will be wanted."""

    class Chosen(Message):
        """Enter was pressed on a line."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.top = self.cursor = self.shift = 0
        self.at_start = self.at_end = True
        self.pattern: re.Pattern[str] | None = None
        """What is marked in the lines"""

    @property
    def current(self) -> Row | None:
        """The line under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def show(self, rows: Sequence[Row], place: int, at_start: bool, at_end: bool) -> None:
        """Hold `rows` from now on, with the cursor on the line at `place`, at the same height of the screen as before."""
        height = self.cursor - self.top
        self.rows, self.at_start, self.at_end = list(rows), at_start, at_end
        starts = [row.start for row in self.rows]
        self.cursor = max(0, min(bisect.bisect_right(starts, place) - 1, len(starts) - 1))
        self.top = self.cursor - max(0, min(height, self.size.height - 1))
        self._keep_in_view()
        self.post_message(self.Moved())

    def _keep_in_view(self) -> None:
        height = max(1, self.size.height)
        self.top = max(self.cursor - height + 1, min(self.top, self.cursor))
        self.top = max(0, min(self.top, len(self.rows) - height))
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        self._keep_in_view()

    def render_line(self, y: int) -> Strip:
        width, index, base = self.size.width, y + self.top, self.rich_style
        if not 0 <= index < len(self.rows):
            return Strip.blank(width, base)
        row = self.rows[index]
        words = line(row.text)
        text = Text(words, "red" if FAILURE.search(words) else "", no_wrap=True, end="")
        if self.pattern is not None:
            for found in self.pattern.finditer(words):
                text.stylize("reverse", *found.span())
        if self.shift:
            text = text[self.shift :] if self.shift < len(text) else Text(end="")
        if not row.whole:
            text.append("…")
        text.truncate(width, overflow="ellipsis")
        text.end = ""
        strip = Strip(text.render(self.app.console)).adjust_cell_length(width, base).apply_style(base)
        if index != self.cursor:
            return strip
        style = self.get_component_rich_style("log--cursor")
        return Strip([part._replace(style=(part.style + style) if part.style else style) for part in strip], width)

    def move_to(self, cursor: int) -> None:
        """Put the cursor on a line of those that are here."""
        self.cursor = max(0, min(cursor, len(self.rows) - 1))
        self._keep_in_view()
        self.post_message(self.Moved())
        room = self.size.height * 2
        near_start = self.cursor < room and not self.at_start
        if near_start or (len(self.rows) - self.cursor < room and not self.at_end):
            self.post_message(self.NearEdge())

    def action_move(self, by: int) -> None:
        self.move_to(self.cursor + by)

    def action_page(self, direction: int) -> None:
        self.move_to(self.cursor + direction * max(1, self.size.height - 1))

    def action_aside(self, direction: int) -> None:
        self.shift = max(0, self.shift + direction * ASIDE)
        self.refresh()

    def action_choose(self) -> None:
        if (row := self.current) is not None:
            self.post_message(self.Chosen(row))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.move_to(self.cursor - 3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.move_to(self.cursor + 3)

    def on_click(self, event: events.Click) -> None:
        if 0 <= self.top + event.y < len(self.rows):
            self.move_to(self.top + event.y)
            if event.chain == 2:
                self.action_choose()
