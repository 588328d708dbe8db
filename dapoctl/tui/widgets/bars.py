"""The line at the top of every screen, and cards for what went wrong."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from dapoctl.tui.session import Session
from dapoctl.views.text import cell, data, line


class TopBar(Static):
    """Where one is: the screens with their digits, and the store."""

    DEFAULT_CSS = "TopBar { height: 1; background: $panel; }"

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._drawn = Text()

    def renew(self) -> None:
        """Draw it again, if it says something else now."""
        if self.words() != self._drawn:
            self.refresh()

    def render(self) -> Text:
        self._drawn = self.words()
        return self._drawn

    def words(self) -> Text:
        """The screens with their digits on the left, the store on the right."""
        session = self.session
        text = Text(no_wrap=True, end="")
        for digit, (mode, title) in enumerate(session.places.items(), 1):
            here = mode == self.app.current_mode
            name = f" {digit} {title} " if self.size.width >= 70 or here else f" {digit} "
            text.append(name, "reverse bold" if here else "")
        waiting = session.snapshot.waiting
        notes = ["read only"] * session.readonly + [f"{waiting} waiting"] * bool(waiting)
        right = " · ".join([*notes, line(str(session.root))])
        room = self.size.width - text.cell_len - 2
        if room > 8:
            text.append(cell(right, room, right=True), "dim")
        return text


class Card(Static):
    """Something that went wrong, in words; the rest of the screen goes on."""

    DEFAULT_CSS = """
    Card { height: auto; max-height: 8; margin: 0 1; padding: 0 1; border: round $error; color: $text; }
    """

    def __init__(self, message: str, title: str = "something went wrong") -> None:
        super().__init__(data(message), markup=False)
        self.border_title = Text(line(title)).markup
