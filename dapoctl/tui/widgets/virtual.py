"""A list of any length of which only the lines on the screen are ever made."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Span, Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

Content = tuple[str, str, tuple[Span, ...]]


class VirtualList(ScrollView, can_focus=True):
    """Lines with a cursor. A subclass says how many there are (`count`) and what each is (`row`); then `refresh_rows`."""

    DEFAULT_CSS = """
    VirtualList { height: 1fr; overflow-x: hidden; background: $background; }
    VirtualList > .virtual--cursor { background: $primary 30%; }
    VirtualList:focus > .virtual--cursor { background: $primary 60%; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"virtual--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="list.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="list.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="list.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="list.page_down"),
        Binding("home", "jump(0)", "First", show=False, id="list.first"),
        Binding("end", "jump(-1)", "Last", show=False, id="list.last"),
        Binding("enter", "select", "Open", id="list.select"),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)
    has_cursor = True
    """Whether one of the lines is current"""

    class OfLine(Message):
        """Something that happened to a line."""

        def __init__(self, widget: VirtualList, index: int) -> None:
            super().__init__()
            self.widget, self.index = widget, index

        @property
        def control(self) -> VirtualList:
            """The list."""
            return self.widget

    class Moved(OfLine):
        """The cursor is on another line."""

    class Chosen(OfLine):
        """Enter was pressed on a line, or it was clicked twice."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: dict[int, Content | None] = {}
        """By index what stands on the screen; None below the last line"""

    def count(self) -> int:
        """How many lines there are; a list by itself is empty."""
        return 0

    def row(self, index: int, width: int) -> Text:  # noqa: ARG002 (for those that have lines)
        """Line `index`; what is longer than `width` columns is cut."""
        return Text()

    def refresh_rows(self, cursor: int | None = None) -> None:
        """The lines, or how many there are, have changed."""
        count = self.count()
        self.virtual_size = Size(self.scrollable_content_region.width, count)
        self.cursor = max(0, min(self.cursor if cursor is None else cursor, count - 1))
        self.refresh_changed()

    def refresh_changed(self) -> None:
        """Draw again those of the lines on the screen that would be others by now."""
        top, (width, height) = self.scroll_offset.y, self.size
        self._drawn = {index: self._drawn[index] for index in range(top, top + height) if index in self._drawn}
        for y in range(height):
            index = top + y
            row = _content(self.row(index, width)) if index < self.count() else None
            if index not in self._drawn or self._drawn[index] != row:
                self.refresh(Region(0, y, width, 1))

    def visible_range(self) -> range:
        """Indices of the lines that are on the screen."""
        top = self.scroll_offset.y
        return range(top, min(self.count(), top + max(self.size.height, 1)))

    def on_resize(self, _event: events.Resize) -> None:
        self.refresh_rows()
        if self.has_cursor:
            self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True)

    def render_line(self, y: int) -> Strip:
        width, index = self.size.width, y + self.scroll_offset.y
        base = self.rich_style
        if not 0 <= index < self.count():
            self._drawn[index] = None
            return Strip.blank(width, base)
        text = self.row(index, width)
        self._drawn[index] = _content(text)
        text.no_wrap = True
        text.truncate(width, overflow="ellipsis")
        text.end = ""
        strip = Strip(text.render(self.app.console)).adjust_cell_length(width, base)
        style = self.get_component_rich_style("virtual--cursor") if self._is_current(index) else base
        return strip.apply_style(style) if not self._is_current(index) else _over(strip, style)

    def _is_current(self, index: int) -> bool:
        return self.has_cursor and index == self.cursor

    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, self.count() - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        if old == new or not self.is_attached:
            return
        for index in (old, new):
            self.refresh(Region(0, index - self.scroll_offset.y, self.size.width, 1))
        self.scroll_to_region(Region(0, new, 1, 1), animate=False, force=True)
        self.post_message(self.Moved(self, new))

    def action_move(self, by: int) -> None:
        self.cursor += by

    def action_page(self, direction: int) -> None:
        self.cursor += direction * max(1, self.size.height - 1)

    def action_jump(self, index: int) -> None:
        self.cursor = index if index >= 0 else self.count() - 1

    def action_select(self) -> None:
        if self.count():
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y
        if 0 <= index < self.count():
            self.cursor = index
            if event.chain == 2:
                self.action_select()


def _content(text: Text) -> Content:
    return text.plain, str(text.style), tuple(text.spans)


def _over(strip: Strip, style: Style) -> Strip:
    """`strip` with `style` on top of its own."""
    return Strip([segment._replace(style=(segment.style or Style()) + style) for segment in strip], strip.cell_length)
