"""A choice from a list, of one or of several.

The list is the one of the screens, so it has their keys and the same ids in a keymap file, which Textual's OptionList has not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.tui.widgets.dialogs import Dialog
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import data, line


class Options(VirtualList):
    """The lines of a choice."""

    DEFAULT_CSS = "Options { height: auto; }"

    def __init__(self, options: Sequence[str], chosen: Collection[int], several: bool) -> None:
        super().__init__()
        self.options, self.chosen, self.several = options, list(chosen), several

    def count(self) -> int:
        return len(self.options)

    def row(self, index: int, width: int) -> Text:
        del width  # longer lines are cut
        sign = ("[x] " if index in self.chosen else "[ ] ") if self.several else ""
        return Text(f"{sign}{line(self.options[index])}")


class Pick(Dialog[list[int] | None]):
    """Places in a list, in the order in which they were chosen; None when it was given up."""

    DEFAULT_CSS = "Pick Static { height: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "choose", "Choose", id="pick.toggle"),
        Binding("escape", "give_up", "Back", id="pick.back"),
    ]

    def __init__(
        self,
        question: str,
        options: Sequence[str],
        chosen: Sequence[int] = (),
        several: bool = False,
        cursor: int = 0,
    ) -> None:
        super().__init__()
        self.question, self.options = question, options
        self.chosen, self.several, self.start = chosen, several, cursor

    def body(self) -> Iterable[Widget]:
        keys = "space chooses, enter is done, esc goes back" if self.several else "enter chooses, esc goes back"
        yield Static(data(f"{self.question}\n{keys}\n"), markup=False)
        yield Options(self.options, self.chosen, self.several)

    @property
    def rows(self) -> Options:
        """The list."""
        return self.query_one(Options)

    def on_mount(self) -> None:
        self.rows.focus()
        self._fit()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.rows.refresh_rows(self.start)

    def on_resize(self, _event: events.Resize) -> None:
        self._fit()

    def _fit(self) -> None:
        frame = self.question.count("\n") + 6
        room = self.app.size.height * 9 // 10 - frame
        self.rows.styles.height = max(1, min(len(self.options), room))

    def action_choose(self) -> None:
        rows = self.rows
        if self.several and rows.count():
            place = rows.cursor
            rows.chosen.remove(place) if place in rows.chosen else rows.chosen.append(place)
            rows.refresh()
            rows.cursor += 1

    @on(VirtualList.Chosen)
    def _answer(self, event: VirtualList.Chosen) -> None:
        event.stop()
        rows = self.rows
        self.dismiss(list(rows.chosen) if self.several and rows.chosen else [event.index])
