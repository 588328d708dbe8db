"""The screen of what is installed: real packages, good ones and broken ones, in an environment of the test's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dapoctl.components import catalog
from tests.support.tui import NARROW, SMALL, WIDE, View, bench, play

GOOD = '''
from typing import Literal
from dapoctl import Component, hookimpl
from pydantic import Field

class Good(Component):
    """Shift [bold]every[/bold] reward.

    Twice, if asked to.
    """

    paper = "Someone et al. 2026, eq. 7"
    differs = "The paper shifts once."

    mode: Literal["once", "twice"] = "once"
    """How often."""
    by: float = Field(0.5, ge=0, lt=2)
    """How far."""
    seed: int | None = None
    """Of what is random; none for the run's."""
    on: bool = True

    @hookimpl
    def shape_rewards(self, batch):
        return batch.rewards * 0 + self.by
'''
BAD = {
    "raises": "raise ValueError('[red]no[/red] \\x1b[2J luck')",
    "exits": "import sys\nsys.exit('gone')",
    "prints": "import sys\nprint('\\x1b[2JPRINTED' * 50)\nprint('SAID', file=sys.stderr)\n"
    + GOOD.replace("Good", "Prints"),
    "unreadable": "class Unreadable(:",
}
SLOW = "import time\ntime.sleep(1)\n" + GOOD.replace("Good", "Slow")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Distributions that are installed for this test; their modules."""
    site = tmp_path / "site"
    points = {"good": "tui_good:Good", "missing": "tui_missing:Missing", "slow": "tui_slow:Slow"}
    (site / "tui_pack-1.2.dist-info").mkdir(parents=True)
    (site / "tui_good.py").write_text(GOOD)
    (site / "tui_slow.py").write_text(SLOW)
    for name, source in BAD.items():
        tail = (
            ""
            if name in ("prints", "unreadable")
            else "\nfrom dapoctl import Component\nclass %s(Component):\n    '''It.'''\n"
        )
        (site / f"tui_{name}.py").write_text(source + (tail % name.title() if tail else ""))
        points[name] = f"tui_{name}:{name.title()}"
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (site / "tui_pack-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tui-pack\nVersion: 1.2\n")
    (site / "tui_pack-1.2.dist-info" / "entry_points.txt").write_text(f"[dapoctl.plugins]\n{lines}\n")
    (site / "tui_twin-3.dist-info").mkdir()
    (site / "tui_twin-3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tui-twin\nVersion: 3\n")
    (site / "tui_twin-3.dist-info" / "entry_points.txt").write_text("[dapoctl.plugins]\nrloo = tui_good:Good\n")
    monkeypatch.syspath_prepend(str(site))
    catalog.installed.cache_clear()
    modules = [value.partition(":")[0] for value in points.values()]
    yield modules
    catalog.installed.cache_clear()
    for name in modules:
        sys.modules.pop(name, None)


async def find(view: View, word: str) -> None:
    """Filter the list to what has `word` in it."""
    await view.press("slash", "ctrl+u")
    await view.type(word)
    await view.press("enter")
    await view.until(f"fit `{word}`")


def test_listing_imports_nothing(packages: list[str], tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path, WIDE) as view:
            await view.press("6")
            await view.until("components and recipes; 2 broken")
            seen = view.text
            for _ in range(2):
                await view.press("pagedown")
                seen += view.text
            for stage in ("load_problems", "policy_loss", "regularize_vocab", "recipes", "broken"):
                assert stage in seen
            assert "good" in seen
            assert "tui-pack 1.2" in seen
            assert not {*packages} & {*sys.modules} - {"tui_good"}

    play(story())


def test_the_page_of_a_component_tells_all(packages: list[str], tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path) as view:
            await view.press("6")
            await view.until("components and recipes")
            await find(view, "shift tui-pack good")
            await view.until("Shift [bold]every[/bold] reward.")
            await view.until(lambda _text: packages[0] in sys.modules)
            await view.until("PARAMETERS")
            await view.press("enter")
            text = " ".join((await view.until("esc back")).replace("│", " ").split())
            await view.press("end")
            text += " ".join((await view.until("--set good.mode=...")).replace("│", " ").split())
            for words in (
                "shape_rewards (any number per run)",
                'mode = "once" once | twice',
                "by = 0.5 float, >= 0, < 2",
                "How far.",
                "seed = none int | none",
                "on = true bool",
                "Someone et al. 2026, eq. 7",
                "The paper shifts once.",
                "tui-pack 1.2",
                "tui_good:Good",
                "--set good.mode=...",
            ):
                assert words in text, words
            await view.press("escape")
            await view.until_gone("esc back")

    play(story())


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("pages", "size"),
    [
        (
            {
                "raises": "ValueError: [red]no[/red]",
                "exits": "it exits the program",
                "missing": "source cannot be read",
                "unreadable": "SyntaxError",
                "prints": "PARAMETERS",
            },
            NARROW,
        ),
        ({"raises": "ValueError:"}, SMALL),
    ],
    ids=["80x24", "small"],
)
@pytest.mark.slow
def test_a_broken_plugin_is_a_page_and_no_end(pages: dict[str, str], size: tuple[int, int], tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path, size) as view:
            await view.press("6")
            await view.until("components and recipes")
            for name, words in pages.items():
                await find(view, f"{name} tui-pack")
                await view.press("enter")
                await view.until("esc back")
                shown = view.text
                await view.press("end")
                shown += view.text
                text = " ".join(shown.replace("│", " ").split())
                assert words in text
                assert "PRINTED" not in text
                assert "SAID" not in text
                assert "\x1b" not in text
                await view.press("escape")
            await find(view, "good tui-pack")
            await view.press("enter")
            await view.until("esc back")

    play(story())


@pytest.mark.usefixtures("packages")
def test_what_is_slow_to_import_opens_however_early_it_is_chosen(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path, NARROW) as view:
            await view.press("6")
            await view.until("components and recipes")
            await find(view, "slow tui-pack")
            await view.press("enter")
            # The cursor comes to rest meanwhile, and its page is asked for too.
            await view.until("esc back")
            assert "Twice, if asked to." in view.text

    play(story())


@pytest.mark.usefixtures("packages")
def test_two_providers_of_one_name_are_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path, NARROW) as view:
            await view.press("6")
            await view.until("components and recipes")
            await find(view, "rloo tui-twin")
            await view.until("Provided by 2 packages")

    play(story())


def test_a_recipe_has_its_components(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path, WIDE) as view:
            await view.press("6")
            await view.until("components and recipes")
            await find(view, "recipe dynamic_sampling")
            await view.until("dynamic_sampling: filter_groups")

    play(story())


def test_nothing_that_fits_says_what_to_do(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path, NARROW) as view:
            await view.press("6")
            await view.until("components and recipes")
            await find(view, "nosuchthing")
            await view.until("No component fits")
            await view.press("j", "k", "enter", "end")
            await view.press("slash", "ctrl+u", "enter")
            await view.until("select_prompts")

    play(story())
