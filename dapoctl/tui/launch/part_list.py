"""The checklist of components, by stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.message import Message

from dapoctl import hookspecs
from dapoctl.components.listing import first_paragraph
from dapoctl.tui.keys import key
from dapoctl.tui.launch.form.choice import Choice
from dapoctl.tui.launch.form.parts import BROKEN, Part, groups, is_asked, is_left_out, is_on
from dapoctl.tui.launch.form.verdict import Verdict
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import cell, data, line

PURPOSE = 50
"""Columns from which there is room to say what a component is for"""


@dataclass(frozen=True)
class Item:
    """A line: the recipe, a word that no component here answers to, a stage's title, or a component."""

    kind: str
    title: str
    part: Part | None = None


class PartList(VirtualList):
    """Components with what each does in the run that is being described."""

    BINDINGS: ClassVar[list[BindingType]] = [key("space", "check", "Check", "launch.check")]

    class Checked(Message):
        """A line is to be checked or unchecked; `alone`: and the others of its stage unchecked."""

        def __init__(self, item: Item, alone: bool) -> None:
            super().__init__()
            self.item, self.alone = item, alone

    def __init__(self) -> None:
        super().__init__()
        self.choice, self.verdict = Choice(), Verdict()
        self.parts: Sequence[Part] = ()
        self.items: list[Item] = []

    def show(self, choice: Choice, verdict: Verdict, parts: Sequence[Part]) -> None:
        """Draw a choice; the cursor stays on its line."""
        current = self.current()
        self.choice, self.verdict, self.parts = choice, verdict, parts
        self.items = [*self._items()]
        place = None
        if current is not None:
            same = [i for i, item in enumerate(self.items) if (item.kind, item.title) == (current.kind, current.title)]
            place = same[0] if same else None
        self.refresh_rows(place)

    def _items(self) -> Iterator[Item]:
        yield Item("recipe", self.choice.recipe)
        known = {part.word for part in self.parts} | {f"-{part.name}" for part in self.parts}
        if self.parts:
            yield from (Item("word", word) for word in self.choice.plugins if word not in known)
        for title, inside in groups(self.parts).items():
            yield Item("stage", title)
            yield from (Item("part", part.word, part) for part in inside)

    def current(self) -> Item | None:
        """The line under the cursor."""
        return self.items[self.cursor] if 0 <= self.cursor < len(self.items) else None

    def find(self, word: str) -> None:
        """The cursor to what `--plugins` calls by this word."""
        place = next((index for index, item in enumerate(self.items) if item.title == word), self.cursor)
        self.cursor = place

    def find_next(self, text: str) -> bool:
        """The cursor to the next component with `text` in its name; whether there is one."""
        wanted = text.strip().lower().replace("-", "_")
        order = [*range(self.cursor + 1, len(self.items)), *range(self.cursor + 1)]
        for index in order:
            item = self.items[index]
            if item.kind == "part" and wanted in item.title.lower():
                self.cursor = index
                return True
        return False

    def count(self) -> int:
        return len(self.items)

    def row(self, index: int, width: int) -> Text:
        item = self.items[index]
        if item.kind == "recipe":
            return Text.assemble(("recipe ", "bold"), data(f"{line(item.title)} ▾"))
        if item.kind == "stage":
            return data(item.title.replace("_", " "), "bold")
        if item.part is None:
            return data(f"{self._conflict(item.title)} [x] {line(item.title)}")
        return self._part(item.part, width)

    def _part(self, part: Part, width: int) -> Text:
        asked, out, on = (
            is_asked(part, self.choice),
            is_left_out(part, self.choice),
            is_on(part, self.choice, self.verdict),
        )
        open_, close, dot = ("(", ")", "•") if part.exclusive else ("[", "]", "x")
        mark = " ! " if part.problem and not on else f"{open_}{dot if on else ' '}{close}"
        sign = self._conflict(part.name) if on or out else " "
        if sign == " ":
            sign = "+" if asked else "-" if out else " "
        name = part.name if part.word == part.name else f"{part.name} (file)"
        style = "dim" if part.problem or not on else "bold" if asked else ""
        text = data(f"{sign} {mark} {line(name)}", style)
        words = part.problem or (part.purpose if width >= PURPOSE else "left out" if out else "")
        if words and width > 30:
            text = data(cell(text.plain, min(28, width)), style)
            text.append(f" {line(words)}", "red" if part.problem else "dim")
        return text

    def _conflict(self, name: str) -> str:
        return "✗" if any(f"`{name}`" in problem for problem in self.verdict.problems) else " "

    def about(self) -> Text:
        """The line under the cursor in more words."""
        item = self.current()
        if item is None:
            return Text("")
        if item.kind == "recipe":
            return data("recipe: the components to start from; enter chooses another, + adds a file or a name")
        if item.kind == "stage":
            return _about_stage(item.title)
        part = item.part
        if part is None:
            return data(f"{item.title}: asked for by name; space takes it out")
        text = data(f"{part.name}  ", "bold")
        if part.problem:
            return text.append_text(data(part.problem, "red"))
        text.append_text(data(f"{', '.join(part.stages)} · {part.origin}\n", "dim"))
        return text.append_text(data(part.purpose))

    def action_check(self) -> None:
        self._post(alone=False)

    def action_select(self) -> None:
        item = self.current()
        self._post(alone=item is not None and item.part is not None and bool(item.part.exclusive))

    def _post(self, alone: bool) -> None:
        if (item := self.current()) is not None:
            self.post_message(self.Checked(item, alone))


def _about_stage(title: str) -> Text:
    hook = hookspecs.stages().get(title)
    if title == BROKEN or hook is None:
        known = {"task": "what is learned: problems and their verifier", "engine": "what samples the responses"}
        return data(known.get(title, "Nothing is known of these."))
    many = "exactly one per run" if hookspecs.is_exclusive(title) else "any number per run"
    return Text.assemble((f"{title} ", "bold"), (f"({many})\n", "dim"), data(first_paragraph(hook.__doc__ or "")))
