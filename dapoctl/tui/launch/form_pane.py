"""The form with its editor: an input over the line that is being changed, and the refusal below it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static

from dapoctl.tui.keys import key
from dapoctl.tui.launch.form.fields import Field
from dapoctl.tui.launch.form.rows import Row
from dapoctl.tui.launch.form.texts import read, show, show_plain
from dapoctl.tui.launch.form_list import FormList
from dapoctl.tui.widgets.pick import Pick
from dapoctl.views.text import data, line


class Editor(Input):
    """The value that is being typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "leave", "Leave it as it was", "edit.leave", show=False),
        key("up", "go(-1)", "Take it, one up", "edit.up", show=False),
        key("down,tab", "go(1)", "Take it, one down", "edit.down", show=False),
    ]

    def action_leave(self) -> None:
        self.pane.end()

    def action_go(self, by: int) -> None:
        pane = self.pane
        if pane.finish():
            pane.list.cursor += by

    @property
    def pane(self) -> FormPane:
        """Where it is."""
        found = self.parent
        assert isinstance(found, FormPane)
        return found


class Finder(Input):
    """What is searched for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "leave", "All fields again", "find.leave", show=False),
        key("down,tab", "take", "To the fields", "find.take", show=False),
    ]

    def action_leave(self) -> None:
        self.value = ""
        self.action_take()

    def action_take(self) -> None:
        pane = self.parent
        assert isinstance(pane, FormPane)
        self.display = bool(self.value)
        pane.screen.set_focus(pane.list)


class FormPane(Vertical):
    """The fields, a line to search them, and the editor of the one that is being changed."""

    DEFAULT_CSS = """
    FormPane { layers: base over above; }
    FormPane > Finder { display: none; border: none; height: 1; padding: 0; background: $panel; }
    FormPane > Editor { display: none; layer: over; border: none; height: 1; padding: 0; background: $boost; }
    FormPane > #refusal { display: none; layer: above; height: auto; max-height: 3; background: $error 40%; color: $text; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [key("escape", "all", "All fields again", "find.all", show=False)]

    class Judged(Message):
        """The text in the editor has become wrong, or right."""

    def __init__(self, id: str) -> None:  # noqa: A002 (its name there)
        super().__init__(id=id)
        self.refused = ""
        """The field that is being changed, and what speaks against the text; empty if nothing does"""
        self.list = FormList(self.edit)
        self.editor, self.refusal = Editor(compact=True), Static(id="refusal", markup=False)
        self.finder = Finder(placeholder="search the fields", compact=True)
        self.row: Row | None = None
        """What is being edited"""

    def compose(self) -> ComposeResult:
        yield self.finder
        yield self.list
        yield self.editor
        yield self.refusal

    # Searching.

    def find(self) -> None:
        """Search the fields."""
        self.finder.display = True
        self.screen.set_focus(self.finder)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 (its signature)
        """Escape leads back unless there is a search to be ended."""
        return bool(self.list.words) if action == "all" else True

    def action_all(self) -> None:
        self.finder.action_leave()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input is self.finder:
            self.list.search(event.value)
        elif self.row is not None:
            self._judge()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.input is self.finder:
            self.finder.action_take()
        else:
            self.finish()

    # Editing.

    def edit(self, row: Row) -> None:
        """Let the value of a field be typed, or picked."""
        of = row.field
        if of is None:
            return
        if of.kind == "choice":
            self._pick(of)
            return
        self.row = row
        value = self.list.choice.value(of)
        self.editor.value = "" if value is None else show(of, value)
        self.editor.placeholder = of.hint
        self.editor.display = True
        self._place()
        self.screen.set_focus(self.editor)

    def _pick(self, of: Field) -> None:
        value = self.list.choice.value(of)
        current = next((index for index, choice in enumerate(of.choices) if choice == value), 0)

        def picked(places: list[int] | None) -> None:
            if places:
                self._put(of, of.choices[places[0]])

        options = [show_plain(each) for each in of.choices]
        self.app.push_screen(Pick(f"{of.key}  {of.meaning}", options, cursor=current), picked)

    def _place(self) -> None:
        """Put the editor over its line."""
        x = self.list.name_width()
        y = self.list.cursor - self.list.scroll_offset.y + self.finder.size.height * self.finder.display
        self.editor.styles.offset = (x, y)
        self.editor.styles.width = max(8, self.list.size.width - x)
        below = y + 1 < self.size.height - 1
        self.refusal.styles.offset = (2, y + 1 if below else max(0, y - 1))
        self.refusal.styles.width = max(8, self.list.size.width - 2)

    def on_resize(self, _event: events.Resize) -> None:
        if self.row is not None:
            self.call_after_refresh(self._place)

    def _judge(self) -> str:
        """Say what speaks against the text; nothing when nothing does."""
        row = self.row
        if row is None or row.field is None or row.sheet is None:
            return ""
        try:
            words = self.list.choice.refusal(row.field, read(row.field, self.editor.value), row.sheet)
        except ValueError as error:
            words = str(error)
        self.refusal.display = bool(words)
        self._refuse(f"{row.field.key} {words}" if words else "")
        self.refusal.update(data(f"✗ {row.field.path[-1]} {line(words)}"))
        return words

    def _refuse(self, words: str) -> None:
        if words != self.refused:
            self.refused = words
            self.post_message(self.Judged())

    def finish(self) -> bool:
        """Take over what was typed; False where it is refused, and the editor stays."""
        row = self.row
        if row is None or row.field is None:
            return True
        if self._judge():
            return False
        value = read(row.field, self.editor.value)
        self.end()
        self._put(row.field, value)
        return True

    def _put(self, of: Field, value: Any) -> None:
        # Posted by the list, it would end here: a message goes no further than to the parent that sent it.
        self.list.choice.put(of, value)
        self.post_message(FormList.Changed())

    def end(self) -> None:
        """Leave the editor; the field stays what it was."""
        self.row = None
        self._refuse("")
        self.refusal.display = False
        if self.editor.has_focus:
            self.screen.set_focus(self.list)
        self.editor.display = False

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """Something else was clicked."""
        if event.widget is self.editor and self.row is not None and self.app.screen is self.screen:
            key_, text = self.row.key, self.editor.value
            if not self.finish():
                self.end()
                self.app.notify(f"{key_} is what it was: {text!r} was refused", severity="warning", markup=False)

    @property
    def editing(self) -> bool:
        """Whether something is being typed."""
        return self.row is not None

    def reset_all(self) -> None:
        """A new form: nothing is edited or searched for."""
        self.end()
        self.finder.value = ""
        self.finder.display = False
