"""Ablation: the table of the store, what was not run, and the way to launch it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from dapoctl.config.resolve import load
from dapoctl.runs.files import read_json
from dapoctl.runs.index import list_runs
from dapoctl.tui import app as app_module
from dapoctl.tui.ablation.model import candidates, fetch_table
from dapoctl.tui.ablation.screen import AblationScreen
from dapoctl.tui.app import Workbench
from dapoctl.tui.compare.model import Shelf
from dapoctl.tui.compare.screen import CompareScreen
from dapoctl.tui.widgets.pick import Pick
from tests.support.cli import on_store as dapoctl
from tests.support.compare_screens import bench_of, play, shown, text, until
from tests.support.evaluations import counted, evaluate, make_run, rows_of

BASE = "20260101-000000-base-aaaa"


class Recorder(Workbench):
    """Notes what would be launched: the form is another screen's matter."""

    CSS_PATH = Path(app_module.__file__).with_name("app.tcss")
    launched: tuple[str | None, dict[str, Any] | None] | None = None

    async def launch_from(self, run: str | None, changes: dict[str, Any] | None = None) -> None:
        self.launched = run, changes


def trained(root: Path, name: str, counts: list[int] | None, *settings: str, set_: str = "aime24") -> Path:
    """A run with the configuration that `dapoctl run --set ...` resolves to, evaluated with k = 4."""
    resolved = load([], settings, {"steps": 100})
    pipeline: dict[str, Any] = {part: {} for part in resolved.chosen}
    directory = make_run(root, name, config=resolved.as_dict(), pipeline=pipeline)
    if counts is not None:
        evaluate(directory, rows_of(counted(counts), 4), set_=set_)
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = tmp_path / "runs"
    trained(store, BASE, [0, 1, 2, 3, 1, 1, 0, 0], "plugins=[]")
    trained(store, "20260102-000000-base-bbbb", [0, 1, 1, 3, 1, 1, 0, 1], "plugins=[]", "seed=1")
    both = ("plugins=['clip_higher','gkl']", "clip_higher.eps_high=0.35")
    trained(store, "20260103-000000-both-cccc", [1, 2, 2, 4, 3, 1, 2, 0], *both)
    return store


def table_of(root: Path, **options: Any) -> Any:
    runs = sorted(list_runs(root), key=lambda run: run.id, reverse=True)
    return fetch_table(Shelf(), candidates(runs, options.pop("marked", ())), options.pop("set_", None), None)


async def ablation(pilot: Pilot[None]) -> AblationScreen:
    await pilot.press("5")
    await until(pilot, lambda: isinstance(pilot.app.screen, AblationScreen) and pilot.app.screen.table is not None)
    screen = pilot.app.screen
    assert isinstance(screen, AblationScreen)
    await until(pilot, lambda: not screen.busy)
    return screen


def test_the_figures_are_those_of_the_command(root: Path) -> None:
    names = [BASE, "20260102-000000-base-bbbb", "20260103-000000-both-cccc"]
    said = json.loads(dapoctl("ablation", *names, "--task", "aime24", "--json", root=root).stdout)

    async def story(pilot: Pilot[None]) -> None:
        await ablation(pilot)
        lines = shown(pilot)
        for each in said["rows"]:
            row = next(found for found in lines if found.startswith(each["name"][:16]))
            avg = each["effects"]["avg"]
            assert f" {100 * avg['value']:.1f}% " in row
            if not each["baseline"]:
                low, high = (f"{100 * avg[end]:+.1f}" for end in ("low", "high"))
                assert f"{100 * avg['difference']:+.1f} [{low}, {high}]*" in row
                assert f" {avg['p_holm']:.3f}" in row
        assert said["rows"][0]["seeds"] == [0, 1]
        assert "one seed, of the row or of the baseline" in text(pilot)

    play(root, (80, 24), story)


def test_what_was_not_run_is_offered_with_its_parameters(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        screen = await ablation(pilot)
        app = bench_of(pilot)
        assert isinstance(app, Recorder)
        lines = shown(pilot)
        (clip,) = [place for place, words in enumerate(lines) if words.startswith("+clip_higher -clip ")]
        assert "not run: enter launches it" in lines[clip]
        assert any(words.startswith("+gkl") for words in lines)
        await pilot.press("down", "down")
        assert "plugins clip_higher" in text(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: app.launched)
        # The way round it was run: the whole set has eps_high 0.35.
        assert app.launched == (BASE, {"plugins": ["clip_higher"], "clip_higher.eps_high": 0.35})
        # And what is proposed resolves to the components that the row is called after.
        assert {*load([], ["plugins=['clip_higher']"], {}).chosen} >= {"clip_higher"}
        await pilot.press("down")
        assert screen.grid.rows.cursor == 3

    play(root, (80, 24), story, Recorder(root))


def test_more_than_three_changes_are_tried_alone_and_left_out(tmp_path: Path) -> None:
    trained(tmp_path, BASE, [1, 2], "plugins=[]")
    trained(tmp_path, "20260102-000000-dapo-bbbb", [2, 2], "recipe=dapo")
    gaps = table_of(tmp_path).gaps
    parts = {"clip_higher", "dynamic_sampling", "token_mean", "overlong"}
    assert {frozenset(gap.plugins) for gap in gaps} == {
        *(frozenset({part}) for part in parts),
        *(frozenset(parts - {part}) for part in parts),
    }
    assert {gap.without for gap in gaps} == {"", *parts}


def test_two_components_for_one_stage_are_no_gap(tmp_path: Path) -> None:
    trained(tmp_path, BASE, [1, 2], "plugins=[]")
    trained(tmp_path, "20260102-000000-x-bbbb", [2, 2], "plugins=['rloo']")
    trained(tmp_path, "20260103-000000-x-cccc", [2, 2], "plugins=['dr_grpo']")
    assert table_of(tmp_path).gaps == ()


def test_what_the_baseline_has_can_be_left_out(tmp_path: Path) -> None:
    trained(tmp_path, BASE, [1, 2], "plugins=[]")
    trained(tmp_path, "20260102-000000-x-bbbb", [2, 2], "plugins=['kl','gkl']")
    runs = sorted(list_runs(tmp_path), key=lambda run: run.id, reverse=True)
    table = fetch_table(Shelf(), candidates(runs, ()), None, "20260102-000000-x-bbbb")
    assert {gap.plugins: gap.name for gap in table.gaps} == {("gkl",): "-kl", ("kl",): "-gkl"}


def test_a_set_that_is_being_run_is_said_to_be(root: Path) -> None:
    trained(root, "20260104-000000-gkl-dddd", None, "plugins=['gkl']")

    async def story(pilot: Pilot[None]) -> None:
        await ablation(pilot)
        row = next(words for words in shown(pilot) if words.startswith("+gkl"))
        assert "gkl dddd: ✓ finished" in row
        await pilot.press("down", "down", "down", "e")
        await until(pilot, lambda: "Evaluate 20260104-000000-gkl-dddd" in text(pilot))
        assert "-k 4 --max-tokens 512" in text(pilot)

    play(root, (120, 30), story)


def test_rows_lead_to_the_comparison_and_the_baseline_can_be_another(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        screen = await ablation(pilot)
        await pilot.press("down", "b")
        await until(pilot, lambda: screen.table and screen.table.baseline and "cccc" in screen.table.baseline.run.id)
        assert bench_of(pilot).session.baseline == "20260103-000000-both-cccc"
        await until(pilot, lambda: not screen.busy)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        assert [word.rpartition("-")[2] for word in pilot.app.screen.words] == ["cccc@100", "aaaa@100", "bbbb@100"]  # type: ignore[attr-defined]

    play(root, (80, 24), story)


def test_nothing_to_set_against_each_other(tmp_path: Path) -> None:
    async def empty(pilot: Pilot[None]) -> None:
        await ablation(pilot)
        assert "No run was evaluated yet." in text(pilot)
        await pilot.press("enter", "b", "t", "m", "e", "X")

    async def alone(pilot: Pilot[None]) -> None:
        await ablation(pilot)
        assert "every run has the baseline's configuration" in text(pilot)

    play(tmp_path / "nothing", (80, 24), empty)
    trained(tmp_path / "one", BASE, [1, 2], "plugins=[]")
    play(tmp_path / "one", (80, 24), alone)


def test_sets_and_marks_choose_the_rows(root: Path) -> None:
    evaluate(root / BASE, rows_of(counted([1]), 4), set_="gsm8k")

    async def story(pilot: Pilot[None]) -> None:
        screen = await ablation(pilot)
        assert "aime24 (2 sets, t)" in text(pilot)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
        await pilot.press("down", "enter")
        await until(pilot, lambda: screen.table and screen.table.set == "gsm8k")
        assert "nothing to compare it with" in text(pilot)
        screen.set = None
        bench_of(pilot).session.marked = [BASE, "20260103-000000-both-cccc"]
        await pilot.press("m")
        await until(pilot, lambda: screen.table and screen.table.ablation and not screen.busy)
        assert "marked runs" in text(pilot)
        assert len(screen.table.ablation.baseline.evaluations) == 1  # type: ignore[union-attr]

    play(root, (80, 24), story)


def test_damaged_evaluations_are_left_out_and_named(root: Path) -> None:
    (root / "20260102-000000-base-bbbb" / "evals" / "aime24" / "step_100" / "samples.jsonl").write_text("{}\n")
    table = table_of(root)
    assert [(word, "no header" in why) for word, why in table.ablation.left_out] == [
        ("20260102-000000-base-bbbb", True)
    ]


def test_export(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    names = [BASE, "20260102-000000-base-bbbb", "20260103-000000-both-cccc"]

    async def story(pilot: Pilot[None]) -> None:
        await ablation(pilot)
        await pilot.press("X")
        await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
        await pilot.press("end", "enter")
        await until(pilot, (folder / "ablation-aime24.json").exists)

    play(root, (80, 24), story)
    said = json.loads(dapoctl("ablation", *names, "--task", "aime24", "--json", root=root).stdout)
    assert read_json(folder / "ablation-aime24.json") == said
