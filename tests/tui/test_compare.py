"""Compare as people use it: on evaluations as they lie in a store, at both sizes, against what the command says."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from textual.pilot import Pilot

from dapoctl.tui.compare import model
from dapoctl.tui.compare.matrix import Matrix, natural
from dapoctl.tui.compare.model import Shelf, fetch, stamps_now
from dapoctl.tui.screen import GivenUp
from dapoctl.tui.widgets.pick import Pick
from tests.support.cli import on_store as dapoctl
from tests.support.compare_screens import (
    bench_of,
    compared,
    play,
    screen_of,
    settled,
    shown,
    text,
    transcripts,
    until,
)
from tests.support.evaluations import counted, evaluate, make_run, rows_of

A, B, C = "20260101-000000-grpo-aaaa", "20260102-000000-wider-bbbb", "20260103-000000-longer-cccc"
FIRST = [0, 0, 1, 2, 4, 3, 0, 1]
SECOND = [1, 0, 3, 2, 4, 4, 2, 0]
NASTY = "[/bold][red]\x1b[31m\u202eevil\x07"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = tmp_path / "runs"
    evaluate(make_run(store, A), rows_of(counted(FIRST), 4))
    wide = {"pipeline": {"grpo": {}, "clip_wider": {}}, "config": {"optim": {"lr": 1e-5}}}
    evaluate(make_run(store, B, **wide), rows_of(counted(SECOND), 4))
    other = make_run(store, C, config={"steps": 900})
    evaluate(other, rows_of(counted(FIRST[:4]), 4), complete=False, protocol={"temperature": 0.6}, data={"problems": 8})
    evaluate(other, rows_of(counted([1, 1]), 1), k=1, set_="gsm8k", step=5)
    return store


def points(value: float) -> str:
    """Written anew, not by the code under test."""
    words = f"{100 * value:+.1f}"
    return "0.0" if words in ("+0.0", "-0.0") else words


def test_the_figures_are_those_of_the_command(root: Path) -> None:
    done = dapoctl("compare", A, B, C, "--task", "aime24", "--json", root=root)
    said = json.loads(done.stdout)

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B, C])
        rows = {label: next(each for each in shown(pilot) if each.startswith(label)) for label in ("A ", "B ", "C≠")}
        for label, run in zip(rows, said["runs"], strict=True):
            avg = run["metrics"]["avg@4"]
            assert f"{100 * avg['value']:.1f}% [{100 * avg['low']:.1f}, {100 * avg['high']:.1f}]" in rows[label]
        for label, each in zip(("B ", "C≠"), said["comparisons"], strict=True):
            assert f"{points(each['difference'])} [{points(each['low'])}, {points(each['high'])}]" in rows[label]
            assert f" {each['p_holm']:.3f} " in rows[label]
            # C has four problems, and with fewer than six nothing is ever significant.
            least = "?" if each["detectable"] is None else f"{100 * each['detectable']:.1f}"
            assert f" {least} " in f"{rows[label]} "
        assert "B: no significant difference from A" in text(pilot)
        assert "one seed each" in text(pilot)
        pilot.app.screen.query_one("#verdict").scroll_end(animate=False)
        await pilot.pause()
        assert "cost: A ?" in text(pilot)
        lines = [each.problem for each in screen_of(pilot).lines]
        assert lines == [each["id"] for each in said["problems"]]

    play(root, (80, 24), story)


def test_unlike_evaluations_bear_badges(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, C])
        assert " temperature  1 / 0.6" in "\n".join(shown(pilot))
        assert " incomplete  C has 4 of 8" not in "\n".join(shown(pilot))
        assert "incomplete B has 4 of 8 problems" in text(pilot)
        assert any(each.startswith("B≠") for each in shown(pilot))

    play(root, (80, 24), story)


def test_the_matrix_shows_shade_and_digits_and_is_ordered(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [A, B])
        rows = [each for each in shown(pilot) if each.startswith("p0")]
        assert rows[0].split() == ["p02", "░", "1", "▓", "3", "+50.0"]
        assert rows[1].split() == ["p06", "0", "▒", "2", "+50.0"]
        await pilot.press("d")
        assert sorted(each.problem for each in screen.lines) == ["p00", "p02", "p05", "p06", "p07"]
        assert "5 of 8 problems, only different, by difference" in text(pilot)
        await pilot.press("d", "o")
        assert [each.problem for each in screen.lines] == [f"p0{n}" for n in range(8)]
        await pilot.press("o")
        # Right responses of 8: p01 has none, p04 all.
        assert screen.lines[0].problem == "p01"
        assert screen.lines[-1].problem == "p04"
        await pilot.press("f", "f")
        assert {each.problem for each in screen.lines} == {"p00", "p06"}  # gained
        await pilot.press("f")
        assert {each.problem for each in screen.lines} == {"p07"}  # lost

    play(root, (80, 24), story)


def test_names_with_numbers_are_sorted_as_people_count() -> None:
    assert sorted(["p10", "p9", "a", "10", "9"], key=natural) == ["9", "10", "a", "p9", "p10"]


def test_b_makes_another_run_the_baseline(root: Path) -> None:
    said = json.loads(dapoctl("compare", B, A, "--task", "aime24", "--json", root=root).stdout)["comparisons"][0]

    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [A, B])
        await pilot.press("b")
        await settled(pilot)
        await until(pilot, lambda: screen.found and screen.found.sides[0].run == B)
        assert bench_of(pilot).session.baseline == B
        assert f"{points(said['difference'])} [{points(said['low'])}, {points(said['high'])}]" in "\n".join(
            shown(pilot)
        )
        # Faster than any of it can be worked out: the last wish counts.
        for _ in range(5):
            await pilot.press("b")
        await settled(pilot)
        await until(pilot, lambda: screen.found and screen.found.sides[0].run == bench_of(pilot).session.baseline)
        assert bench_of(pilot).session.baseline == screen.words[0]

    play(root, (80, 24), story)


def test_work_that_nobody_waits_for_is_given_up(root: Path) -> None:
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 3:
            raise GivenUp

    with pytest.raises(GivenUp):
        fetch(Shelf(), root, [A, B, C], "aime24", check=check)
    assert len(asked) == 4


def test_without_runs_it_says_what_to_do_and_offers_them(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("4")
        await until(pilot, lambda: "Nothing is compared yet" in text(pilot))
        assert "space marks runs, p pins the baseline, c compares" in text(pilot)
        await pilot.press("b", "d", "o", "f", "v", "t", "s", "x", "X")  # nothing to do them with
        await pilot.press("a")
        await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
        assert "longer cccc" in text(pilot)
        await pilot.press("down", "space", "down", "space", "enter")
        await until(pilot, lambda: screen_of(pilot).found)
        assert [side.run for side in screen_of(pilot).found.sides] == [B, A]  # type: ignore[union-attr]

    play(root, (80, 24), story)


def test_marks_are_taken_when_one_comes_by_a_digit(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        app = bench_of(pilot)
        app.session.marked, app.session.baseline = [B, C], A
        await pilot.press("4")
        await until(pilot, lambda: screen_of(pilot).found)
        assert screen_of(pilot).words == [A, B, C]

    play(root, (80, 24), story)


def test_one_run_is_compared_with_its_beginning(tmp_path: Path) -> None:
    run = make_run(tmp_path, A)
    for step, right in ((0, 0), (50, 2), (100, 3)):
        evaluate(run, rows_of(counted([right] * 8), 4), step=step)

    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [A])
        assert [side.word for side in screen.found.sides] == [f"{A}@0", f"{A}@100"]  # type: ignore[union-attr]
        assert "B is higher than A (p = 0.008)" in text(pilot)  # 2 of 2^8 patterns
        # Another step, beside the others.
        await pilot.press("shift+tab", "shift+tab")
        screen.grid.rows.cursor = 1
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
        assert "step     50" in "\n".join(shown(pilot))
        await pilot.press("up", "space", "enter")
        await until(pilot, lambda: screen_of(pilot).found and len(screen_of(pilot).found.sides) == 3)  # type: ignore[union-attr]
        assert screen.words == [f"{A}@0", f"{A}@100", f"{A}@50"]

    play(tmp_path, (80, 24), story)


def test_the_set_is_chosen(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [C, A])
        assert "aime24 (2 sets, t)" in text(pilot)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
        assert "gsm8k" in text(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: screen.found and screen.found.set == "gsm8k")
        assert f"not evaluated on gsm8k: `dapoctl eval {A}"[:50] in text(pilot)
        assert "1 of 2 runs were not evaluated on gsm8k: e evaluates them, asked like A" in text(pilot)

    play(root, (80, 24), story)


def test_nobody_was_evaluated(tmp_path: Path) -> None:
    for name in (A, B):
        make_run(tmp_path, name, config={"task": "arithmetic"})

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B])
        assert "None of these runs was evaluated" in text(pilot)
        assert "dapoctl eval" in text(pilot)
        await pilot.press("e")
        await until(pilot, lambda: "--task arithmetic -k 8 --as arithmetic-k8" in text(pilot))
        await pilot.press("escape")

    play(tmp_path, (80, 24), story)


def test_an_evaluation_is_asked_like_those_that_are_there(root: Path) -> None:
    make_run(root, "20260104-000000-new-dddd")

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, "20260104-000000-new-dddd"])
        await pilot.press("e")
        # Temperature and top_p are the protocol's own; the made-up summary's source is a task called `x`.
        await until(pilot, lambda: "--task x --as aime24 -k 4 --max-tokens 512 --limit 8" in text(pilot))
        assert "Also as there: --instruction" in text(pilot)
        assert "dddd" in text(pilot)
        assert "aaaa" not in text(pilot)

    play(root, (120, 30), story)


def test_export_never_writes_over_a_file(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "compare-aime24.json").write_text("mine")

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B])
        for moves in ([], ["down"], ["down", "down"]):
            count = len(list(folder.iterdir()))
            await pilot.press("X")
            await until(pilot, lambda: isinstance(pilot.app.screen, Pick))
            await pilot.press(*moves, "enter")
            await until(pilot, lambda count=count: len(list(folder.iterdir())) > count)
        await until(
            pilot, lambda: any("compare-aime24-2.json" in str(each.message) for each in pilot.app._notifications)
        )

    play(root, (80, 24), story)
    assert (folder / "compare-aime24.json").read_text() == "mine"
    said = json.loads(dapoctl("compare", A, B, "--task", "aime24", "--json", root=root).stdout)
    assert json.loads((folder / "compare-aime24-2.json").read_text()) == said
    rows = csv.DictReader(io.StringIO((folder / "compare-aime24.csv").read_text()))
    assert [row["label"] for row in rows] == ["A", "B"]
    assert "| p02 | 1/4 | 3/4 |" in (folder / "compare-aime24.md").read_text()


def test_a_read_only_session_writes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B])
        await pilot.press("X", "e")
        assert isinstance(pilot.app.screen, type(screen_of(pilot)))
        assert len([each for each in pilot.app._notifications if "read only" in str(each.message)]) == 2

    play(root, (80, 24), story, readonly=True)
    assert list(folder.iterdir()) == []


def test_enter_opens_the_transcripts_of_a_problem(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [A, B])
        await pilot.press("down", "enter")
        opened = await transcripts(pilot)
        assert opened.problem_id == screen.lines[1].problem == "p06"
        assert opened.order == [each.problem for each in screen.lines]
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.matrix.has_focus

    play(root, (80, 24), story)


def test_the_run_that_differs_on_the_problem_is_read(tmp_path: Path) -> None:
    for name, counts in ((A, [1, 2]), (B, [1, 4]), (C, [4, 2])):
        evaluate(make_run(tmp_path, name), rows_of(counted(counts), 4))

    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [A, B, C])
        assert [each.problem for each in screen.lines] == ["p00", "p01"]
        for problem, places in (("p00", (0, 2)), ("p01", (0, 1))):
            screen.matrix.go_to(problem)
            await pilot.press("enter")
            opened = await transcripts(pilot)
            assert (opened.problem_id, opened.pair.places) == (problem, places)  # type: ignore[union-attr]
            await pilot.press("escape")
            await until(pilot, lambda: pilot.app.screen is screen)

    play(tmp_path, (80, 24), story)


def test_what_differs_is_shown_beside_or_instead(root: Path) -> None:
    async def narrow(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B])
        assert "+ clip_wider" not in text(pilot)
        await pilot.press("v")
        await until(pilot, lambda: "+ clip_wider" in text(pilot))
        assert "optim.lr 1e-06 -> 1e-05" in text(pilot)
        assert not screen_of(pilot).query_one("#problems").display
        await pilot.press("v")
        await until(pilot, lambda: "+ clip_wider" not in text(pilot))

    async def wide(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B])
        await until(pilot, lambda: "+ clip_wider" in text(pilot))
        assert screen_of(pilot).query_one("#problems").display

    play(root, (80, 24), narrow)
    play(root, (160, 50), wide)


def test_once_each_is_a_mcnemar_test(tmp_path: Path) -> None:
    for name, right in ((A, [0] * 9 + [1]), (B, [1] * 9 + [0])):
        evaluate(make_run(tmp_path, name), rows_of(counted(right), 1), k=1)

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B])
        # 2 x (1 + 10) of 2^10
        assert "B is higher than A (p = 0.021) over 10 problems" in text(pilot)
        await until(pilot, lambda: "McNemar, exact" in text(pilot))

    play(tmp_path, (160, 50), story)


def test_different_k_is_a_badge_and_each_cell_has_its_own(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A), rows_of({"x": 2, "y": 0}, 4), k=4)
    evaluate(make_run(tmp_path, B), rows_of({"x": 16, "y": 8}, 16), k=16)

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B])
        assert " k  4 / 16" in "\n".join(shown(pilot))
        assert "avg@k [95%]" in text(pilot)
        rows = [each.split() for each in shown(pilot) if each.startswith(("x ", "y "))]
        assert rows == [["x", "▒", "2", "█", "16", "+50.0"], ["y", "0", "▒", "8", "+50.0"]]

    play(tmp_path, (80, 24), story)


def test_damaged_files_are_said_and_the_rest_is_compared(root: Path) -> None:
    samples = root / B / "evals" / "aime24" / "step_100" / "samples.jsonl"
    samples.write_text(samples.read_text() + '{"problem": "p00", "sample": 0\n')
    (root / C / "evals" / "aime24" / "step_100" / "samples.jsonl").write_bytes(b"\xff\x00garbage\n")

    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [A, B, C, "nope"], "aime24")
        assert [side.evaluation is None for side in screen.found.sides] == [False, False, True, True]  # type: ignore[union-attr]
        assert "samples.jsonl has no header" in text(pilot)
        assert "no run `nope`" in text(pilot)
        assert "B: samples.jsonl: 1 damaged row left out" in text(pilot)

    play(root, (160, 50), story)


def test_a_baseline_without_an_evaluation_gives_way(root: Path) -> None:
    make_run(root, "20260104-000000-new-dddd")

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, ["20260104-000000-new-dddd", A, B])
        assert "B: no significant difference from A" in text(pilot)

    play(root, (80, 24), story)


@pytest.mark.slow
def test_a_run_that_disappears_and_one_that_grows(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [A, B])
        evaluate(root / A, rows_of(counted([4] * 8), 4))
        await until(pilot, lambda: "100.0%" in text(pilot))
        shutil.rmtree(root / B)
        await until(pilot, lambda: screen.found and screen.found.lacking)
        assert f"no run `{B}`"[:30] in text(pilot)
        shutil.rmtree(root)
        await until(pilot, lambda: bench_of(pilot).session.snapshot.problem)
        await pilot.press("b", "d", "enter", "4")
        await settled(pilot)

    play(root, (80, 24), story)


@pytest.mark.slow
def test_twelve_runs_at_any_size(tmp_path: Path) -> None:
    names = [f"202601{day:02}-000000-x-{day:04}" for day in range(1, 13)]
    for place, name in enumerate(names):
        evaluate(make_run(tmp_path, name), rows_of(counted([(place + n) % 33 for n in range(30)]), 32), k=32)

    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, names)
        for size in ((40, 12), (200, 60), (80, 24), (20, 8), (160, 50)):
            await pilot.resize_terminal(*size)
            await pilot.press("down", "tab", "down", "shift+tab")
            await until(pilot, lambda size=size: pilot.app.screen.size.width == size[0])
            assert len(shown(pilot)) == size[1]
        assert len(screen.found.comparison.contrasts) == 11  # type: ignore[union-attr]
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: pilot.app.screen.size.width == 80)
        assert "A B C D E F G H I J K L points" in text(pilot)
        row = next(each for each in shown(pilot) if each.startswith("p"))
        assert len(row) <= 80

    play(tmp_path, (80, 24), story)


def test_what_models_and_files_say_is_never_markup(tmp_path: Path) -> None:
    from tests.support.evaluations import row

    for name in (A, B):
        rows = [row(NASTY, 0, name == B, prompt=NASTY, answer=NASTY, response=f"{NASTY}{name}", extracted=NASTY)]
        run = make_run(tmp_path, name, pipeline={NASTY + name: {}}, config={"model": {"path": NASTY}})
        evaluate(run, rows, k=1, protocol={"instruction": NASTY + name, "scorer": NASTY + name})

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [A, B])
        assert not {"\x1b", "\u202e", "\x07"} & {*"".join(shown(pilot))}
        assert "[/bold][red]" in text(pilot)
        await pilot.press("enter")
        await transcripts(pilot)
        assert not {"\x1b", "\u202e", "\x07"} & {*"".join(shown(pilot))}
        assert "[/bold][red]\\x1b[31m\\u202eevil\\x07" in text(pilot)

    play(tmp_path, (160, 50), story)


def test_a_matrix_without_problems(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A), rows_of({"x": 1}, 1), k=1)
    evaluate(make_run(tmp_path, B), rows_of({"y": 1}, 1), k=1)

    async def story(pilot: Pilot[None]) -> None:
        screen = await compared(pilot, [A, B])
        assert "no problem was measured on both sides" in text(pilot)
        await pilot.press("f", "f", "f", "enter")
        assert screen.query_one(Matrix).count() == 0

    play(tmp_path, (80, 24), story)


def test_the_heads_of_the_columns_are_right_when_the_empty_screen_was_seen_first(root: Path) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("4")
        await until(pilot, lambda: "Nothing is compared yet" in text(pilot))
        await pilot.press("1", "home", "space", "space", "c")
        await until(pilot, lambda: screen_of(pilot).found is not None)
        await settled(pilot)
        head = next(line for line in shown(pilot) if " points" in line)
        assert "runs more" not in head
        assert head.split()[:3] == ["problem", "A", "B"], head

    play(root, (80, 24), story)


def test_what_is_written_while_it_is_read_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    compare = model.compare_evaluations

    def slow(*args: object, **options: object) -> object:
        evaluate(root / B, rows_of(counted(FIRST), 4))
        return compare(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "compare_evaluations", slow)
    found = fetch(shelf, root, [A, B], "aime24")
    stamps = stamps_now(root, [A, B], "aime24")
    assert found.stamps != stamps
    monkeypatch.undo()
    assert fetch(shelf, root, [A, B], "aime24").stamps == stamps
