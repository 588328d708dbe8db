"""The launch form in tests: a component with every kind of parameter, and the screen driven by its keys."""

from __future__ import annotations

import textwrap
from pathlib import Path

from textual.widgets import Input

from dapoctl.tui.launch.screen import LaunchScreen
from tests.support.tui import View

EVERYTHING = '''
    """An idea of somebody else's."""
    from __future__ import annotations

    from enum import Enum
    from typing import Annotated, Literal

    from dapoctl import Batch, Component, hookimpl
    from pydantic import BaseModel, Field, field_validator, model_validator


    class Shape(str, Enum):
        """How it falls off."""

        LINEAR = "linear"
        ROOT = "square root"


    class Window(BaseModel, use_attribute_docstrings=True):
        """Where it looks."""

        first: int = Field(0, ge=0)
        """Where it begins."""
        width: float = Field(1.0, gt=0)
        """How far it goes."""
        label: str = "all of it"
        stop: int | None = 5


    class EveryKind(Component):
        """Adds nothing, in many ways."""

        shape: Shape = Shape.LINEAR
        """The curve's shape."""
        mode: Literal["soft", "hard", "none"] = "soft"
        """How it is applied."""
        order: Literal[1, 2, 4] = 2
        strict: bool = False
        """Whether it means it."""
        maybe: bool | None = None
        rate: float = Field(0.5, ge=-1, lt=2)
        """Reward per token."""
        limit: int | None = Field(None, ge=1, le=99)
        """Where it stops; by default nowhere."""
        cap: int | None = Field(7, ge=0)
        """At most; none for no cap."""
        words: list[str] = ["a"]
        """Words that it looks for."""
        weights: list[float] = []
        note: str = "x"
        remark: str | None = "hm"
        table: dict[str, float] = {}
        either: int | str = 3
        window: Window = Window(first=2, label="the middle")
        """Where it looks."""

        @field_validator("words")
        @classmethod
        def _no_shouting(cls, words: list[str]) -> list[str]:
            if any(word.endswith("!") for word in words):
                raise ValueError("no shouting, please")
            return words

        @hookimpl
        def shape_rewards(self, batch: Batch):
            return batch.rewards * 0
'''

HOSTILE = (
    "", "x", "two words", "a,b", "k=v", "it's", 'say "hi"', "$HOME `id` !!", "é ü 漢字 🙂", "#", "# no comment", "true",
    "3", "1e-7", "none", "None", "[1, 2]", "{a = 1}", "'quoted'", '"quoted"', "back\\slash", " edge ", "tab\there",
    "two\nlines", "a = 1\nb = 2", "\x1b[31mred", "\u202eright to left", "\u00a0", "--queue", "-x", "a;b|c&d>e", "*", "~",
    "[/boxed]", "[a for a in b]", "1979-05-27", "inf", "nan", "0x10", "\u2028", "%s {0}",
)  # fmt: skip
"""Texts that have a meaning to a shell, to TOML, to a terminal or to a markup language"""


def every_kind(folder: Path, name: str = "idea.py") -> str:
    """The file's word for `--plugins`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(textwrap.dedent(EVERYTHING), encoding="utf-8")
    return f"{path}:EveryKind"


# The screen, by its keys.


def screen_of(view: View) -> LaunchScreen:
    found = view.app.screen_stack[0]
    assert isinstance(found, LaunchScreen)
    return found


async def opened(view: View, ready: str = "✓ ready") -> LaunchScreen:
    """The launch screen, once the resolver has spoken."""
    await view.press("3")
    await view.until(ready)
    screen = screen_of(view)
    await view.until(lambda _: screen.catalogue)
    return screen


async def to_part(view: View, name: str) -> None:
    """The cursor on a component."""
    screen = screen_of(view)
    await view.until(lambda _: any(item.title == name for item in screen.part_list.items))
    screen.part_list.cursor = next(i for i, item in enumerate(screen.part_list.items) if item.title == name)
    screen.part_list.focus()
    await view.pilot.pause()


async def to_field(view: View, key: str) -> None:
    """The cursor on a field, by searching it."""
    screen = screen_of(view)
    screen.form.find()
    screen.form.finder.value = key
    await view.until(lambda _: any(row.key == key for row in screen.form.list.rows))
    screen.form.list.cursor = next(i for i, row in enumerate(screen.form.list.rows) if row.key == key)
    screen.form.finder.action_take()
    await view.pilot.pause()


async def put(view: View, key: str, text: str) -> None:
    """Type a value into a field and take it."""
    await to_field(view, key)
    form = screen_of(view).form
    await view.press("enter")
    await view.until(lambda _: form.editing)
    form.editor.value = text
    await view.press("enter")
    await view.until(lambda _: not form.editing)


async def add(view: View, word: str) -> None:
    """A component by its file or name."""
    await view.press("plus")
    await view.until("Which component?")
    view.app.screen.query_one(Input).value = word
    await view.press("enter")


def drawn(view: View) -> str:
    """The line of the field under the cursor."""
    fields = screen_of(view).form.list
    return fields.row(fields.cursor, fields.size.width).plain
