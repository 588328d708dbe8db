"""Lists draw again only what has changed: a store is looked at all day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen
from textual.strip import Strip
from textual.widgets import Static

from dapoctl.tui.app import Workbench
from dapoctl.tui.home.run_table import RunTable
from dapoctl.tui.widgets.renew import renew
from dapoctl.tui.widgets.virtual import VirtualList
from tests.support.stores import add_run, many
from tests.support.tui import View, bench, play

HEIGHT = 10


class Words(VirtualList):
    """Some words, one to a line."""

    def __init__(self, words: list[str]) -> None:
        super().__init__()
        self.words, self.style = words, ""
        self.drawn: list[int] = []

    def count(self) -> int:
        return len(self.words)

    def row(self, index: int, width: int) -> Text:  # noqa: ARG002
        return Text(self.words[index], self.style)

    def render_line(self, y: int) -> Strip:
        self.drawn.append(y)
        return super().render_line(y)


class Page(App[None]):
    """A list of 100 words, and one word beside it."""

    def compose(self) -> ComposeResult:
        yield Words([f"word {number}" for number in range(100)])
        yield Static(Text("beside"))


def change_one(words: Words) -> None:
    words.words[3] = "another"
    words.refresh_rows()


def change_one_that_is_not_seen(words: Words) -> None:
    words.words[50] = "another"
    words.refresh_rows()


def change_none(words: Words) -> None:
    words.refresh_rows()


def recolour(words: Words) -> None:
    words.style = "red"
    words.refresh_rows()


def shorten(words: Words) -> None:
    del words.words[6:]
    words.refresh_rows()


def move(words: Words) -> None:
    words.action_move(2)


@pytest.mark.parametrize(
    ("change", "drawn"),
    [
        (change_one, {3}),
        (change_one_that_is_not_seen, set()),
        (change_none, set()),
        (move, {0, 2}),
        (recolour, {*range(HEIGHT - 1)}),
    ],
)
def test_only_lines_that_changed_are_drawn(change: Callable[[Words], None], drawn: set[int]) -> None:
    async def story(words: Words, pilot: Pilot[None]) -> None:
        change(words)
        await pilot.pause()
        assert {*words.drawn} == drawn
        assert shown(words) == [word.ljust(words.size.width) for word in words.words[: HEIGHT - 1]]

    run(story)


def test_a_list_that_grows_shorter_and_longer_again() -> None:
    async def story(words: Words, pilot: Pilot[None]) -> None:
        everything = list(words.words)
        shorten(words)
        await pilot.pause()
        assert [line.rstrip() for line in shown(words)] == [*everything[:6], "", "", ""]
        words.words = everything
        words.refresh_rows()
        await pilot.pause()
        assert [line.rstrip() for line in shown(words)] == everything[: HEIGHT - 1]

    run(story)


def test_lines_are_known_by_index_when_scrolled() -> None:
    async def story(words: Words, pilot: Pilot[None]) -> None:
        words.action_jump(-1)
        await pilot.pause()
        words.drawn.clear()
        words.words[95] = "another"
        words.refresh_rows()
        await pilot.pause()
        assert {*words.drawn} == {95 - 91}
        assert shown(words)[4].rstrip() == "another"

    run(story)


def test_words_that_stand_there_are_not_laid_out_again() -> None:
    asked: list[bool] = []

    async def inside() -> None:
        app = Page()
        async with app.run_test(size=(40, HEIGHT)) as pilot:
            static = app.query_one(Static)
            old = static.refresh

            def refresh(*regions: object, layout: bool = False, **options: object) -> Static:
                asked.append(layout)
                return old(*regions, layout=layout, **options)  # type: ignore[arg-type]

            static.refresh = refresh  # type: ignore[method-assign, assignment]
            renew(static, Text("beside"))
            await pilot.pause()
            assert asked == []
            renew(static, Text("beside", "bold"))
            renew(static, Text.assemble(("be", "bold"), "side"))
            renew(static, Text("else"))
            await pilot.pause()
            assert asked == [True] * 3

    asyncio.run(inside())


async def drawn_at_each_look(view: View, drawn: list[Any], looks: int) -> list[int]:
    """How often something was drawn at each of some looks at the store, as `drawn` notes it."""
    counts = []
    for _ in range(looks):
        before = view.app.session.snapshot
        drawn.clear()
        view.app.look()
        await view.until(lambda _text, before=before: view.app.session.snapshot is not before)  # type: ignore[misc]
        await view.pilot.pause(0.2)
        counts.append(len(drawn))
    return counts


def test_a_store_in_which_nothing_happens_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    old = RunTable.render_line

    def render_line(table: RunTable, y: int) -> Strip:
        drawn.append(y)
        return old(table, y)

    monkeypatch.setattr(RunTable, "render_line", render_line)
    many(tmp_path, 30)
    add_run(tmp_path, "20260101-000000-gone-0000", name="marked", steps=3)

    async def story() -> None:
        async with bench(tmp_path) as view:
            await view.until("▁█▂")
            # At first the runs' metrics come in.
            assert (await drawn_at_each_look(view, drawn, 5))[-2:] == [0, 0]

    play(story())


@pytest.mark.parametrize("tab", "clsefv")
def test_a_run_that_has_ended_draws_nothing(tab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[object] = []
    old = Workbench._display

    def display(app: Workbench, screen: Screen[object], renderable: object) -> None:
        drawn.append(renderable)
        old(app, screen, renderable)  # type: ignore[arg-type]

    monkeypatch.setattr(Workbench, "_display", display)
    many(tmp_path, 3)

    async def story() -> None:
        async with bench(tmp_path) as view:
            await view.press("enter", tab)
            await view.pilot.pause(0.3)
            # At first the tab's files come in.
            assert (await drawn_at_each_look(view, drawn, 4))[-2:] == [0, 0]

    play(story())


def run(story: Callable[[Words, Pilot[None]], Coroutine[None, None, None]]) -> None:
    """Play `story` once the list has been drawn."""

    async def inside() -> None:
        app = Page()
        async with app.run_test(size=(40, HEIGHT)) as pilot:
            await pilot.pause()
            words = app.query_one(Words)
            assert len({*words.drawn}) == HEIGHT - 1
            # It is narrower once it has a scrollbar, which is drawn as a whole.
            words.refresh_rows()
            await pilot.pause()
            words.drawn.clear()
            await story(words, pilot)

    asyncio.run(inside())


def shown(words: Words) -> list[str]:
    """The list's lines as they stand on the screen."""
    strips = words.app.screen._compositor.render_strips()
    return [strip.text[: words.size.width] for strip in strips[: words.size.height]]
