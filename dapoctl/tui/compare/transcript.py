"""One response in a column, of any length: only the lines on the screen are ever made."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from rich.text import Text
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dapoctl.tui.widgets.wrapping import wrap
from dapoctl.views.text import safe
from dapoctl.views.transcripts import MARK

SAME = "\n(the same text)"
SHARED, APART = "dim", "bold reverse"


@dataclass(frozen=True)
class Laid:
    """A text laid out in lines."""

    text: str
    mark: int
    """Where the mark stands; -1 for nowhere"""
    lines: list[tuple[int, int]]

    @property
    def line_of_mark(self) -> int:
        """The line that the mark is on; 0 where there is none."""
        return self.line_at(self.mark)

    def line_at(self, place: int) -> int:
        """The line that a character is on."""
        return max(0, bisect_right(self.lines, place, key=lambda line: line[0]) - 1)

    def begin(self, line: int) -> int:
        """The first character of a line."""
        return self.lines[line][0] if 0 <= line < len(self.lines) else 0


def lay_out(response: str, apart: int | None, width: int) -> Laid:
    """A response in `width` columns.

    Args:
        response: as the model wrote it
        apart: characters that it shares with the other one; None when they are the same
        width: at least 1
    """
    if apart is None:
        text, mark = f"{safe(response)}{SAME}", -1
    else:
        shared = safe(response[:apart])
        text, mark = f"{shared}{MARK}{safe(response[apart:])}", len(shared)
    return Laid(text, mark, wrap(text, max(1, width)))


class Transcript(ScrollView, can_focus=False):
    """A column of text that scrolls with another: the screen moves both."""

    DEFAULT_CSS = "Transcript { height: 1fr; background: $background; overflow-x: hidden; overflow-y: scroll; }"

    laid = Laid("", -1, [])
    led = False
    """Whether it is being moved by its screen"""

    class Scrolled(Message):
        """The user moved this column, by wheel or scrollbar."""

        def __init__(self, widget: Transcript, top: int) -> None:
            super().__init__()
            self.widget, self.top = widget, top

    @property
    def columns(self) -> int:
        """Room for text."""
        return max(1, self.scrollable_content_region.width)

    @property
    def last_top(self) -> int:
        """The lowest line that can be the first one shown."""
        return max(0, len(self.laid.lines) - self.scrollable_content_region.height)

    def show(self, laid: Laid) -> None:
        """Draw another text."""
        self.laid = laid
        self.virtual_size = Size(self.columns, len(laid.lines))
        self.refresh()

    def lead(self, top: int) -> None:
        """Begin at line `top`, or as far down as it reaches; nobody is told of it.

        At once: told of a movement of its own that is no longer the last one, the screen would go back to it, be told of that,
        and so on for ever.
        """
        self.led = True
        try:
            self.scroll_to(y=min(top, self.last_top), animate=False, force=True, immediate=True)
        finally:
            self.led = False

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value) and not self.led:
            self.post_message(self.Scrolled(self, round(new_value)))

    def render_line(self, y: int) -> Strip:
        width, index, base = self.size.width, y + self.scroll_offset.y, self.rich_style
        if not 0 <= index < len(self.laid.lines):
            return Strip.blank(width, base)
        begin, end = self.laid.lines[index]
        text = Text(self.laid.text[begin:end], end="", no_wrap=True)
        mark = self.laid.mark - begin
        if self.laid.mark >= 0:
            text.stylize(SHARED, 0, max(0, min(mark, len(text))))
            if 0 <= mark < len(text):
                text.stylize(APART, mark, mark + 1)
        return Strip(text.render(self.app.console)).adjust_cell_length(width, base).apply_style(base)
