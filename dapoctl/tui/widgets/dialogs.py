"""What stands over a screen: questions that are asked in between, and pages of text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static

from dapoctl.views.text import data

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """Base of the dialogs: a frame in the middle of the screen. A subclass gives what is in it."""

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > .frame { width: 90%; max-width: 100; height: auto; max-height: 90%; border: round $primary; padding: 0 1;
        background: $surface; }
    """
    FRAME: ClassVar[type[Widget]] = Vertical
    heading = ""
    """What stands in the frame's upper line"""

    def body(self) -> Iterable[Widget]:
        """The widgets in the frame."""
        return ()

    def compose(self) -> ComposeResult:
        with self.FRAME(classes="frame") as frame:
            frame.border_title = data(self.heading).markup
            yield from self.body()

    def action_give_up(self) -> None:
        self.dismiss(None)


class Confirm(Dialog[bool]):
    """Yes or no."""

    DEFAULT_CSS = """
    Confirm > .frame { width: 60; max-width: 90%; border: round $warning; padding: 1 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "Yes", id="confirm.yes"),
        Binding("n,escape", "answer(False)", "No", id="confirm.no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def body(self) -> Iterable[Widget]:
        yield Static(data(f"{self.question}\n\ny yes    n no"), markup=False)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class Ask(Dialog[str | None]):
    """One line of text; None when it was given up."""

    DEFAULT_CSS = """
    Ask > .frame { width: 76; max-width: 95%; }
    Ask Input, Ask Input:focus { border: none; height: 1; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "give_up", "Back", id="ask.back")]

    def __init__(self, question: str, value: str = "", placeholder: str = "") -> None:
        super().__init__()
        self.question, self.value, self.placeholder = question, value, placeholder

    def body(self) -> Iterable[Widget]:
        yield Static(data(self.question), markup=False)
        yield Input(self.value, placeholder=self.placeholder)

    @on(Input.Submitted)
    def _answer(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class Page(Dialog[None]):
    """A page of text."""

    FRAME = VerticalScroll
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", "Back", id="page.back")]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.heading, self.text = title, text

    def body(self) -> Iterable[Widget]:
        yield Static(data(self.text), markup=False)
