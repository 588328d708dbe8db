"""The launch screen, by its keys.

Slow: a run that is started from it and trains.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dapoctl.cli import app as command_line
from dapoctl.components.catalog import installed
from dapoctl.runs.jobs.leases import devices, give_back, lease
from dapoctl.runs.jobs.queue import drop
from dapoctl.runs.jobs.waiter import waiter
from dapoctl.runs.summary import read_run
from dapoctl.runs.tickets import tickets
from dapoctl.tui.app import Workbench
from tests.support.background import SHORT, Store, wait_for_state
from tests.support.helpers import plugin_file
from tests.support.launch_screen import add, drawn, every_kind, opened, put, screen_of, to_field, to_part
from tests.support.tui import NARROW, SMALL, WIDE, bench, own_leases, play

SIZES = pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "160x50"])

RAISES = """
    from dapoctl import Component, hookimpl

    class Moody(Component):
        '''Never fits.'''
        def check_run(self, config):
            raise RuntimeError("[/not today]")
        @hookimpl
        def shape_rewards(self, batch):
            return batch.rewards
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with one finished run."""
    found = Store(tmp_path_factory.mktemp("launch"))
    settings = ("plugins=['clip_higher', 'gkl']", "name=first", "gkl.gamma=0.25", *SHORT)
    found.call("run", *(part for text in settings for part in ("--set", text)))
    return found


# Components


def test_two_advantage_estimators_show_the_conflict(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path) as view:
            await opened(view)
            await to_part(view, "rloo")
            await view.press("space")
            await view.until("✓ ready: uniform · clip · sequence_mean · rloo")
            assert "( ) grpo" in view.text, "the recipe's own gives way"
            await to_part(view, "dr_grpo")
            await view.press("space")
            await view.until("`rloo` and `dr_grpo` both provide estimate_advantages; choose one")
            assert "✗ (•) rloo" in view.text
            assert "✗ (•) dr_grpo" in view.text
            await view.press("enter")
            await view.until("sequence_mean · dr_grpo")
            assert "( ) rloo" in view.text, "enter checks it alone"
            await view.press("space")
            await view.until("✓ ready: uniform · grpo")

    play(story())


def test_a_missing_stage_is_named_and_comes_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path) as view:
            screen = await opened(view)
            await to_part(view, "clip")
            await view.press("space")
            await view.until("✗ no component provides policy_loss; add one of: cispo, clip,")
            assert screen.line.startswith("dapoctl run --plugins -clip")
            await view.press("space")
            await view.until("✓ ready")
            assert screen.choice.plugins == []
            await to_part(view, "clip_higher")
            await view.press("space")
            await view.until("· clip_higher")
            await to_part(view, "clip")
            await view.press("space")
            await view.until("· clip ·")
            assert screen.choice.plugins == [], "the recipe's own in place of the other"

    play(story())


def test_another_recipe(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path) as view:
            screen = await opened(view)
            await view.press("enter")
            await view.until("Which components to start from?")
            await view.press("home", "enter")
            name = installed().recipes()[0]
            await view.until(f"recipe {name}")
            await view.until(lambda _: screen.verdict.base and "dynamic_sampling" in screen.verdict.chosen)
            assert f"--recipe {name}" in screen.line
            await to_part(view, "dynamic_sampling")
            assert "[x] dynamic_sampling" in view.text

    play(story())


def test_a_task_and_an_engine_are_one_each(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path) as view:
            screen = await opened(view)
            await to_part(view, "vllm")
            await view.press("space")
            await view.until(lambda _: "--set engine=vllm" in screen.line and "vllm" in screen.verdict.chosen)
            await to_part(view, "hf")
            await view.press("space")
            await view.until(lambda _: "engine=" not in screen.line and "hf" in screen.verdict.chosen)

    play(story())


# Third parties


@pytest.mark.slow
def test_a_component_of_somebody_else_brings_its_fields(tmp_path: Path) -> None:
    async def story() -> None:
        word = every_kind(tmp_path / "ideas")
        async with bench(tmp_path / "runs") as view:
            screen = await opened(view)
            await add(view, word)
            await view.until(lambda _: any(row.key == "every_kind.rate" for row in screen.form.list.rows))
            await to_field(view, "every_kind.shape")
            assert drawn(view).split() == ["shape", "linear", "▾"]
            assert "linear | square root" in view.text
            assert "The curve's shape." in view.text
            await view.press("space")
            await view.until(lambda _: "every_kind.shape=square root" in shlex.split(screen.line))
            await view.press("enter")
            await view.until("square root")
            await view.press("home", "enter")
            await view.until(lambda _: "shape" not in screen.line)
            await view.press("left")
            await to_field(view, "every_kind.strict")
            assert drawn(view).split() == ["strict", "[", "]", "no"]
            await view.press("space")
            await view.until("[x] yes")
            await to_field(view, "every_kind.rate")
            assert "float, >= -1, < 2 · default 0.5" in view.text
            await view.press("enter")
            screen.form.editor.value = "2"
            await view.until("✗ rate must be less than 2")
            screen.form.editor.value = "-.5"
            await view.press("enter")
            await put(view, "every_kind.limit", "7")
            await put(view, "every_kind.words", "a b, c")
            await put(view, "every_kind.cap", "none")
            await view.until(lambda _: screen.verdict.resolved is not None and not screen.pending)
            assert screen.verdict.resolved is not None
            found = screen.verdict.resolved.as_dict()["every_kind"]
            assert (found["shape"], found["strict"], found["rate"]) == ("square root", True, -0.5)
            assert (found["limit"], found["words"], found["cap"]) == (7, ["a b", "c"], "none")
            done = CliRunner().invoke(command_line, [*shlex.split(screen.line)[1:-1], "--dry-run", "--json"])
            assert json.loads(done.stdout) == screen.verdict.resolved.as_dict()

    play(story())


def test_a_component_that_raises_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    async def story() -> None:
        path = plugin_file(tmp_path, RAISES)
        async with bench(tmp_path / "runs", WIDE) as view:
            screen = await opened(view)
            for word, said in [
                (f"{path}:Moody", "component `moody`, `check_run` raised RuntimeError: [/not today]"),
                (f"{tmp_path}/nowhere.py", "no plugin file"),
            ]:
                await add(view, word)
                await view.until(said)
            assert [part.name for part in screen.files] == ["moody"]
            await to_part(view, f"{path}:Moody")
            await view.press("space")
            await view.until("✓ ready")

    play(story())


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two installed distributions, one of which does not import."""
    good = "from dapoctl import Component, hookimpl\nfrom pydantic import Field\nclass Idea(Component):\n"
    good += '    """Pays for brevity."""\n    rate: float = Field(0.5, gt=0, le=1)\n    """Reward per token saved."""\n'
    good += "    @hookimpl\n    def shape_rewards(self, batch):\n        return batch.rewards\n"
    sources = {"good_idea": good, "bad_idea": good.replace("class", "raise OSError('no driver')\nclass")}
    for name, source in sources.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dapoctl.plugins]\n{name} = {name}:Idea\n")
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.mark.usefixtures("packages")
def test_what_is_installed_is_listed_and_what_is_broken_cannot_be_checked(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path / "runs", WIDE) as view:
            screen = await opened(view)
            await to_part(view, "good_idea")
            await view.press("space")
            await to_field(view, "good_idea.rate")
            await view.until("float, > 0, <= 1 · default 0.5")
            await view.until(lambda _: any(part.problem for part in screen.catalogue))
            await to_part(view, "bad_idea")
            await view.until("cannot be imported: OSError: no driver")
            assert " !  bad_idea" in view.text
            await view.press("space")
            assert screen.choice.plugins == ["good_idea"]

    play(story())


# Fields


@SIZES
def test_a_wrong_value_is_refused_at_its_field(tmp_path: Path, size: tuple[int, int]) -> None:
    async def story() -> None:
        async with bench(tmp_path, size) as view:
            screen = await opened(view)
            await view.press("tab", "down", "down", "enter", "0")

            def said_below(_text: str) -> bool:
                lines = view.lines()
                at = next(index for index, text in enumerate(lines) if "● steps" in text or "  steps " in text)
                return "✗ steps must be greater than or equal to 1" in lines[at + 1]

            await view.until(said_below)
            await view.press("enter")
            assert screen.form.editing, "a wrong value is not taken"
            assert screen.choice.values == {}
            await view.until_gone("✓ ready")
            await view.press("ctrl+r")
            await view.until("not started: steps must be")
            assert not list(tmp_path.glob("*/spec.json")), "nothing is made"
            await view.press("backspace", "1", "2", "enter")
            await view.until("steps=12")
            assert not screen.form.editing
            assert "● steps" in view.text
            await view.press("backspace")
            await view.until_gone("steps=12")
            await view.press("enter", "x", "escape")
            assert screen.choice.values == {}
            assert "1 changed" not in view.text

    play(story())


def test_sections_fold_and_the_search_looks_into_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path) as view:
            screen = await opened(view)
            await view.press("tab", "slash")
            await view.type("adapters learning")
            await view.until("alpha")
            assert [row.key for row in screen.form.list.rows if row.field] == ["lora.alpha"]
            await view.press("enter")
            await put(view, "lora.alpha", "8")
            await view.press("escape")
            await view.until(lambda _: not screen.form.list.words)
            row = next(i for i, row in enumerate(screen.form.list.rows) if row.key == "[lora]")
            screen.form.list.cursor = row
            await view.until("▸ lora  1 changed")
            await view.press("right")
            await view.until("rank")

    play(story())


# Clones and the line


def test_a_clone_shows_how_it_differs(store: Store) -> None:
    async def story() -> None:
        async with bench(store.root) as view:
            run = store.ids()[0]
            await view.app.launch_from(run, {"gkl.gamma": 0.75, "nobody.knows": 3})
            await view.until("cloned from")
            screen = screen_of(view)
            await view.until(lambda _: screen.difference is not None)
            assert screen.difference is not None
            assert screen.difference.keys == {"gkl.gamma": (0.25, 0.75)}
            await view.until("gkl.gamma 0.25 → 0.75")
            assert "left out, nothing takes it: nobody.knows = 3" in view.text
            assert "--name first-2 " in screen.line
            assert "--set steps=3 " in screen.line
            await to_part(view, "gkl")
            await view.press("space")
            await view.until("- gkl")

    play(story())


def test_the_line_is_copied_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with bench(tmp_path) as view:
            screen = await opened(view)
            await to_part(view, "clip_higher")
            await view.press("space")
            await put(view, "steps", "7")
            await to_part(view, "math")
            await view.press("space")
            await put(view, "math.instruction", 'it\'s $HOME: "{problem}", = [/b]')
            await view.until(lambda _: not screen.pending and "math" in screen.verdict.chosen)
            await view.press("ctrl+y")
            line = view.app.clipboard
            assert line == screen.line
            words = shlex.split(line)
            assert words[:2] == ["dapoctl", "run"]
            assert words[-1] == "--detach"
            assert "--runs-dir" not in words, "the store is the one that the command would take"
            done = CliRunner().invoke(command_line, [*words[1:-1], "--dry-run", "--json"])
            assert screen.verdict.resolved is not None
            assert json.loads(done.stdout) == screen.verdict.resolved.as_dict()
            await view.press("w")
            assert screen.line.endswith("--queue")
            await view.press("v")
            await view.until("the run as described")

    monkeypatch.setenv("DAPOCTL_RUNS", str(tmp_path))
    play(story())


# Runs


def opened_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that the screen went on to; their own screen is another matter."""
    found: list[str] = []
    monkeypatch.setattr(Workbench, "open_run", lambda _self, run, _tab: found.append(run))
    return found


@pytest.mark.slow
def test_a_run_is_started_from_the_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_leases(monkeypatch, tmp_path)
    shown = opened_runs(monkeypatch)
    root = tmp_path / "runs"

    async def story() -> None:
        async with bench(root) as view:
            screen = await opened(view)
            for name in ("clip_higher", "gkl"):
                await to_part(view, name)
                await view.press("space")
            for setting in SHORT:
                key, _, text = setting.partition("=")
                await put(view, key, text)
            await view.until(lambda _: "gkl" in screen.verdict.chosen)
            await to_field(view, "gkl.gamma")
            await view.press("enter")
            screen.form.editor.value = "0.25"
            # What is still being typed is part of it.
            await view.press("ctrl+r")
            await view.until(lambda _: shown, 60)
            # It is in the list at once: nothing may say of a run just started that its folder is gone.
            assert view.app.session.snapshot.find(shown[0]) is not None

    play(story())
    (run,) = shown
    found = wait_for_state(root / run, "finished")
    assert found.step == 3
    assert {"clip_higher", "gkl"} <= set(found.components)
    assert found.config["gkl"]["gamma"] == 0.25
    assert found.spec["argv"][:4] == ["dapoctl", "run", "--plugins", "clip_higher,gkl"]


def test_a_run_waits_when_nothing_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_leases(monkeypatch, tmp_path)
    shown = opened_runs(monkeypatch)
    root = tmp_path / "runs"
    held = lease(devices()[0], "somebody-elses-run")
    assert held is not None

    async def story() -> None:
        async with bench(root) as view:
            await opened(view)
            await view.press("ctrl+r")
            await view.until("somebody-elses-run", 30)
            assert "nothing is free: it waits for 1 slot: slot 0 leased by" in view.text
            assert "Let it wait in the queue?" in view.text
            assert not tickets(root)
            await view.press("y")
            await view.until(lambda _: shown, 30)
            await view.press("ctrl+e")
            await view.until(lambda _: len(shown) == 2, 30)
            await view.press("2")
            await view.until(f"PID {waiter(root)} waits with them", 30)

    try:
        play(story())
        assert [ticket.run for ticket in tickets(root)] == shown
        assert {read_run(root / run).state for run in shown} == {"queued"}
        assert waiter(root) is not None
    finally:
        for run in shown:
            drop(root, run)
        give_back([held])


def test_what_does_not_fit_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = opened_runs(monkeypatch)

    async def story() -> None:
        async with bench(tmp_path / "runs") as view:
            await opened(view)
            await to_part(view, "clip")
            await view.press("space", "ctrl+r")
            await view.until("that did not work")
            assert "no component provides policy_loss" in view.text

    play(story())
    assert shown == []
    assert not (tmp_path / "runs").exists()


def test_a_read_only_session_copies_and_starts_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path / "runs", readonly=True) as view:
            screen = await opened(view)
            await view.press("ctrl+r")
            await view.until("read only")
            await view.press("ctrl+e", "ctrl+y")
            assert view.app.clipboard == screen.line

    play(story())
    assert not (tmp_path / "runs").exists()


# Terminals


def test_a_small_terminal_shows_one_pane_at_a_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path, SMALL) as view:
            screen = await opened(view)
            await view.until("select prompts")
            await view.press("tab")
            await view.until("▾ most used")
            assert "select prompts" not in view.text
            await view.press("down", "down", "enter", "0")
            await view.until("✗ steps must be")
            for width, height in (WIDE, (20, 6), NARROW, SMALL):
                await view.resize(width, height)
                await view.pilot.pause()
            assert screen.form.editing
            await view.press("escape")

    play(story())


@pytest.mark.process
def test_filling_in_the_form_imports_nothing_heavy() -> None:
    code = """
    import sys
    from dapoctl.components.catalog import installed
    from dapoctl.tui.launch.form import clone, command_line, parts, rows
    from dapoctl.tui.launch.form.choice import Choice
    from dapoctl.tui.launch.form.verdict import examine
    needing = {"trackio", "wandb"}  # libraries that may be absent, which they say
    found = parts.test(parts.glance(installed()), installed())
    verdict = examine(Choice(plugins=[part.name for part in found if not part.exclusive and part.name not in needing]))
    assert verdict.resolved, verdict.problems
    print({"torch", "textual", "transformers", "vllm"} & set(sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "set()"
