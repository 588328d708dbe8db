"""The form as lines: drawn, not mounted, so that a hundred fields cost no more than those on the screen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.geometry import Region
from textual.message import Message

from dapoctl.runs.jobs.create import default_name
from dapoctl.tui.keys import key
from dapoctl.tui.launch.form.choice import Choice
from dapoctl.tui.launch.form.fields import MISSING, Field
from dapoctl.tui.launch.form.rows import Row, Section, changed, rows, sections
from dapoctl.tui.launch.form.texts import show, show_plain
from dapoctl.tui.launch.form.verdict import Verdict
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import cell, data, line

NAME, WIDE_NAME = 28, 32
"""Columns of a field's name, in a narrow and in a wide pane"""
WIDE = 90
VALUE = 24
"""Columns of a value where its meaning stands beside it"""


class FormList(VirtualList):
    """Every field with its value; those that were changed are marked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("space", "turn(1)", "Toggle, next choice", "launch.turn", show=False),
        key("right", "turn(1)", "Next choice, unfold", "launch.next", show=False),
        key("left", "turn(-1)", "Previous choice, fold", "launch.previous", show=False),
        key("backspace,delete", "reset", "Back to the default", "launch.reset", show=False),
    ]

    class Changed(Message):
        """A field was set."""

    def __init__(self, edit: Callable[[Row], None]) -> None:
        """
        Args:
            edit: lets a field's value be typed, at once: the next key is part of it
        """
        super().__init__()
        self.edit = edit
        self.choice, self.verdict = Choice(), Verdict()
        self.sections: list[Section] = []
        self.rows: list[Row] = []
        self.opened: set[str] = set()
        self.words = ""
        """What is searched for"""
        self.was: dict[str, Any] = {}
        """By key, what the run that this one was cloned from had, where that differs"""

    def show(self, choice: Choice, verdict: Verdict) -> None:
        """Draw a choice."""
        self.choice, self.verdict = choice, verdict
        self.sections = sections(verdict.sheets)
        self._redraw()

    def search(self, words: str) -> None:
        """Show only what fits."""
        self.words = words
        self._redraw()

    def _redraw(self) -> None:
        current = self.current()
        self.rows = rows(self.sections, self.opened, self.words)
        place = None
        if current is not None:
            place = next((index for index, row in enumerate(self.rows) if row.key == current.key), None)
        if place is None and self.words:
            place = 1
        self.refresh_rows(place)

    def current(self) -> Row | None:
        """The line under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def count(self) -> int:
        return len(self.rows)

    def name_width(self) -> int:
        """Columns before the values."""
        return (WIDE_NAME if self.size.width >= WIDE else NAME) + 2

    def row(self, index: int, width: int) -> Text:
        row = self.rows[index]
        if row.field is None:
            return self._head(row.section)
        of = row.field
        name = self.name_width() - 2
        set_ = self.choice.is_changed(of)
        problem = any(f"`{of.key}`" in each for each in self.verdict.problems)
        sign = "✗ " if problem else "● " if set_ else "≠ " if of.key in self.was else "  "
        shown = of.key if row.section.title not in of.path[:1] else ".".join(of.path[1:])
        text = data(sign + cell(line(shown), name - 1) + " ", "red" if problem else "bold" if set_ else "")
        value = self.text_of(of)
        room = width - name - 2
        if width < WIDE:
            return text.append_text(data(cell(line(value), room), "bold" if set_ else "dim"))
        text.append_text(data(cell(line(value), VALUE) + " ", "bold" if set_ else "dim"))
        return text.append_text(data(line(of.meaning), "dim italic"))

    def text_of(self, of: Field) -> str:
        """A field's value as it is drawn."""
        value = self.choice.value(of)
        if value is MISSING:
            return "needed"
        if of.kind == "bool":
            return "[x] yes" if value else "[ ] no"
        if of.kind == "choice":
            return f"{show_plain(value)} ▾"
        if value is None:
            return f"({default_name(self.choice.recipe, self.choice.plugins)})" if of.path == ("name",) else "none"
        return show(of, value) or "(empty)"

    def _head(self, section: Section) -> Text:
        is_open = section.title in self.opened or bool(self.words)
        count = changed(section, self.choice)
        text = data(f"{'▾' if is_open else '▸'} {line(section.title)}", "bold")
        size = len(section.fields)
        words = f"{count} changed" if count else "" if is_open else f"{size} setting{'s' if size > 1 else ''}"
        return text.append(f"  {words}", "yellow" if count else "dim")

    def about(self) -> Text:
        """The line under the cursor in more words."""
        row = self.current()
        if row is None:
            return Text("nothing fits the search" if self.words else "")
        if row.field is None:
            what = "parameters of a component" if row.section.component else "settings of the run"
            return data(f"{row.section.title}: {what}; enter folds and unfolds, / searches all")
        of = row.field
        default = self.choice.default(of)
        words = [of.hint, "has no default" if default is MISSING else f"default {show(of, default) or 'empty'}"]
        if of.key in self.was:
            words.append(f"was {show_plain(self.was[of.key])}")
        text = data(f"{of.key}  ", "bold")
        text.append_text(data(f"{' · '.join(line(word) for word in words)}\n", "dim"))
        return text.append_text(data(of.meaning))

    # Keys.

    def action_select(self) -> None:
        row = self.current()
        if row is None:
            return
        if row.field is None:
            self.fold(row.section.title)
        elif row.field.kind == "bool":
            self.action_turn(1)
        else:
            self.edit(row)

    def fold(self, title: str, open_: bool | None = None) -> None:
        """Open or close a section."""
        if open_ if open_ is not None else title not in self.opened:
            self.opened.add(title)
        else:
            self.opened.discard(title)
        self._redraw()
        row = self.current()
        if row is not None and row.section.title == title and title in self.opened:
            # What was unfolded is to be seen.
            height = min(len(row.section.fields) + 1, self.size.height)
            self.scroll_to_region(Region(0, self.cursor, 1, height), animate=False, force=True)

    def action_turn(self, by: int) -> None:
        row = self.current()
        if row is None:
            return
        if row.field is None:
            self.fold(row.section.title, by > 0)
            return
        options = _options(row.field)
        if options:
            value = self.choice.value(row.field)
            place = next((index for index, option in enumerate(options) if option == value), -1)
            self.put(row.field, options[(place + by) % len(options)])

    def put(self, of: Field, value: Any) -> None:
        """Set a field; MISSING sets it back."""
        self.choice.put(of, value)
        self.post_message(self.Changed())

    def action_reset(self) -> None:
        row = self.current()
        if row is not None and row.field is not None:
            self.put(row.field, MISSING)


def _options(of: Field) -> Sequence[Any]:
    return (False, True) if of.kind == "bool" else of.choices if of.kind == "choice" else ()


def opened_at_first(found: Collection[Section], first: str, wanted: Collection[str]) -> set[str]:
    """The sections that a new form shows open: the most used, and the components that were added."""
    return {section.title for section in found if section.title == first or section.title in wanted}
