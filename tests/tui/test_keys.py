"""Keys, screens and text: what holds for the whole package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

from dapoctl.errors import ConfigError
from dapoctl.tui import help_page
from dapoctl.tui.app import PLACES, Place, Workbench
from dapoctl.tui.keys import read_keymap
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.views.text import cell, line, middle, safe
from tests.support.background import Store
from tests.support.stores import add_run
from tests.support.tui import NARROW, SMALL, bench, play


def classes() -> list[type[DOMNode]]:
    """Every widget, screen and app of the package."""
    return [
        cls
        for module in help_page._modules()
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, DOMNode) and cls.__module__ == module.__name__
    ]


def test_every_binding_has_an_id_and_an_id_has_one_meaning() -> None:
    meanings: dict[str, tuple[str, str]] = {}
    found = [(cls, each) for cls in classes() for each in vars(cls).get("BINDINGS", ())]
    assert len(found) > 30
    for cls, each in found:
        assert isinstance(each, Binding), f"{cls.__name__}: {each} has no id"
        assert each.id, f"{cls.__name__}: `{each.key}` has no id"
        assert each.description, f"{cls.__name__}: `{each.id}` has no description"
        meaning = (each.action, each.description)
        assert meanings.setdefault(each.id, meaning) == meaning, f"`{each.id}` means two things"
    assert help_page.binding_ids() == sorted(meanings)


def test_every_screen_answers_a_question() -> None:
    screens = [cls for cls in classes() if issubclass(cls, WorkbenchScreen)]
    # What others are made from is never shown itself.
    screens = [cls for cls in screens if not any(issubclass(other, cls) for other in screens if other is not cls)]
    assert len(screens) >= len(PLACES)
    for cls in screens:
        assert "?" in cls.QUESTION, f"{cls.__name__} has no question"


BUILT = [place for place in PLACES if find_spec(place.value.partition(":")[0])]
"""All of them, once each has its module"""


@pytest.mark.parametrize("place", BUILT, ids=lambda place: place.mode)
def test_the_footer_at_80_columns_shows_the_way_out_and_the_help(place: Place, tmp_path: Path) -> None:
    mode = place.mode
    add_run(tmp_path / "runs", "20260101-000001-one-0001", name="one")

    async def story() -> None:
        async with bench(tmp_path / "runs", NARROW) as view:
            await view.until("one 0001")
            await view.press(str([each.mode for each in PLACES].index(mode) + 1))
            await view.until(lambda _text: view.app.current_mode == mode and "Help" in view.lines()[-1])
            footer = view.lines()[-1]
            assert "^q Quit, runs go on" in footer
            assert "? Help" in footer
            assert f" {[each.mode for each in PLACES].index(mode) + 1} {place.title} " in view.lines()[0]
            await view.resize(*SMALL)
            await view.until(lambda _text: "? Help" in view.lines()[-1])
            await view.press("escape")
            await view.until(lambda _text: view.app.current_mode == "runs")

    play(story())


def test_the_help_page_has_the_question_the_keys_and_their_ids(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path / "runs", NARROW) as view:
            await view.press("question_mark")
            text = await view.until("runs.compare")
            assert "What is going on?" in text
            row = next(row for row in text.splitlines() if "runs.sort" in row)
            assert row.split()[1:4] == ["s", "Sort", "runs.sort"]
            await view.press("end")
            await view.until("--keys FILE`)")
            await view.press("escape")
            await view.until_gone("runs.compare")

    play(story())


def test_the_palette_leads_to_screens_runs_and_themes(tmp_path: Path) -> None:
    add_run(tmp_path / "runs", "20260101-000001-one-0001", name="one")

    async def story() -> None:
        async with bench(tmp_path / "runs", NARROW) as view:
            await view.until("one 0001")
            await view.press("ctrl+p")
            await view.type("go to plug")
            await view.until(lambda text: "Go to Plugins" in text and "Go to Runs" not in text)
            await view.press("enter")
            await view.until("components and recipes")
            before = view.app.theme
            await view.press("ctrl+p")
            await view.type("theme")
            await view.until(lambda text: "Change the colours" in text and "Go to" not in text)
            await view.press("enter")
            await view.until("Search for themes")
            await view.type("nord")
            await view.until(lambda text: text.count("nord") > 1 and "dracula" not in text)
            await view.press("enter")
            await view.until(lambda _text: view.app.theme == "nord")
            assert before != "nord"

    play(story())


# The keymap file.


def test_an_unknown_id_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('"runs.comprae" = "c"')
    with pytest.raises(ConfigError, match=r"there is no binding `runs\.comprae`.*`runs\.compare`"):
        read_keymap(path, help_page.binding_ids())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("runs.sort = 3", "must be keys such as"),
        ('runs.sort = ""', "must be keys such as"),
        ("runs.sort = ", "a line looks like"),
        ("\xff", "cannot|a line looks like"),
    ],
)
def test_a_keymap_that_is_wrong_says_where(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=words) as found:
        read_keymap(path, help_page.binding_ids())
    assert str(path) in str(found.value)


def test_the_command_refuses_a_wrong_keymap_before_it_draws(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text('"runs.sorrt" = "c"')
    store = Store(tmp_path)
    done = store.call("tui", "--keys", "keys.toml", code=2)
    assert "`runs.sort`" in done.stderr
    assert "cannot be read" in store.call("tui", "--keys", "nowhere.toml", code=2).stderr


def test_the_command_refuses_a_theme_that_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert "Did you mean `nord`?" in store.call("tui", "--theme", "norrd", code=2).stderr
    assert "Did you mean `nord`?" in store.call("tui", code=2, DAPOCTL_THEME="norrd").stderr
    assert "needs a terminal" in store.call("tui", "--theme", "nord", code=2).stderr


def test_the_theme_is_used(tmp_path: Path) -> None:
    assert Workbench(tmp_path, theme="nord").theme == "nord"


def test_no_color_leaves_state_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    add_run(tmp_path / "runs", "20260101-000001-one-0001", name="one", state="failed", error="it broke")

    async def story() -> None:
        async with bench(tmp_path / "runs", NARROW) as view:
            await view.until("✗ failed")
            strips = view.app.screen._compositor.render_strips()
            colours = {
                colour.triplet
                for strip in strips
                for segment in strip.apply_filter(view.app._filters[-1], view.app.screen.background_colors[1])
                for colour in ((segment.style.color, segment.style.bgcolor) if segment.style else ())
                if colour is not None and colour.triplet is not None
            }
            assert colours
            assert all(max(triplet) - min(triplet) <= 1 for triplet in colours)  # shades of grey

    play(story())


# Text on its way to the screen.


@pytest.mark.parametrize(
    ("text", "width", "right", "shown"),
    [
        ("abc", 5, False, "abc  "),
        ("abc", 5, True, "  abc"),
        ("abcdef", 4, False, "abc…"),
        ("漢字漢字", 5, False, "漢字…"),
        ("漢字漢字", 4, False, "漢… "),
        ("", 0, False, ""),
        ("abc", 0, False, ""),
    ],
)
def test_a_cell_has_its_width(text: str, width: int, right: bool, shown: str) -> None:
    from rich.cells import cell_len

    assert cell(text, width, right) == shown or cell_len(cell(text, width, right)) == width
    assert cell_len(cell(text, width, right)) == width


def test_the_end_of_a_name_is_kept() -> None:
    assert middle("clip_higher-gkl 780e", 15, 5) == "clip_high… 780e"
    assert middle("grpo 780e", 15, 5) == "grpo 780e"


def test_control_characters_are_spelled_out() -> None:
    assert safe("a\tb\x1b[31mc\r\u202ed\n") == "a   b\\x1b[31mc\\r\\u202ed\n"
    assert line("a\r\nb\nc") == "a⏎b⏎c"
