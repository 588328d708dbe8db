"""The screen of runs on every kind of store: empty, huge, damaged, hostile, gone, changing."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from dapoctl.runs.attempts import LOCK
from dapoctl.runs.files import write_json
from dapoctl.runs.locks import release, try_lock
from dapoctl.tui.actions.runs import Sent
from dapoctl.tui.app import Workbench
from tests.support.stores import BEGAN, add_run, learning, many
from tests.support.tui import NARROW, SIZES, SMALL, WIDE, View, bench, play

HOSTILE = "[red]x[/red] [/boxed] [a for a in b] \x1b[31mred\x1b[2J \x07bell\ttab 👩‍🔬 שלום العربية \u202eevil"
SHOWN = "[red]x[/red]"
TIME = re.compile(r"\d:\d\d")


def survivors(root: Path) -> Path:
    """A store with a run of every kind that must not hurt the others."""
    add_run(root, "20260101-000001-plain-0001", ["clip_higher"], evals={"arithmetic": 0.612})
    add_run(root, "20260101-000002-nothing-0002", done=0, state=None)
    add_run(
        root,
        "20260101-000003-nan-0003",
        name="not_finite",
        metrics=lambda step: learning(step) | {"reward/mean": ["NaN", "Infinity", "-Infinity", 0.5][step % 4]},
    )
    add_run(
        root, "20260101-000004-hostile-0004", name=HOSTILE, note=HOSTILE, tags=[HOSTILE], error=HOSTILE, state="failed"
    )
    garbage = root / "20260101-000005-garbage-0005"
    garbage.mkdir()
    (garbage / "spec.json").write_bytes(b'{"schema": 1, \xff\x00')
    (root / "20260101-000006-bare-0006").mkdir()
    # A folder where a file should be: it cannot be opened by any user, root included.
    (root / "20260101-000007-folder-0007" / "spec.json").mkdir(parents=True)
    wrong = root / "20260101-000008-types-0008"
    wrong.mkdir()
    (wrong / "spec.json").write_text('{"schema": "one", "config": []}')
    newer = root / "20260101-000009-newer-0009"
    newer.mkdir()
    (newer / "spec.json").write_text('{"schema": 99}')
    torn = add_run(root, "20260101-000010-torn-0010", name="torn")
    with (torn / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": "x"}\n[]\n\xff\xfe\n{"step": 25, "time": 1, "metr')
    return root


@pytest.mark.parametrize("size", SIZES)
def test_every_kind_of_run_is_shown_and_hurts_no_other(size: tuple[int, int], tmp_path: Path) -> None:
    root = survivors(tmp_path / "runs")

    async def story() -> None:
        async with bench(root, size) as view:
            await view.until("torn")
            seen = view.text
            for _ in range(12):
                await view.press("j")
                seen += view.text
            for _ in range(5):
                await view.press("s")
            await view.press("home", "pagedown", "end", "pageup")
            assert "✗ failed" in seen
            assert "! unread" in seen
            assert "clip_hig" in seen
            if size != SMALL:
                assert SHOWN in seen
                assert "61.2%" in seen
                assert "spec.json is damaged" in seen
            assert not any(letter < " " or letter in "\x7f\u202e" for letter in seen.replace("\n", ""))
            assert len(view.lines()) == size[1]

    play(story())


def test_what_a_hostile_run_says_is_shown_as_it_is(tmp_path: Path) -> None:
    add_run(
        tmp_path / "runs",
        "20260101-000004-hostile-0004",
        name="h",
        note=HOSTILE,
        tags=[HOSTILE],
        error=HOSTILE,
        state="failed",
    )

    async def story() -> None:
        async with bench(tmp_path / "runs", WIDE) as view:
            text = await view.until("note")
            joined = "".join(line.partition("│")[2].strip() for line in text.splitlines())
            assert joined.count(SHOWN) == 3
            assert joined.count(r"\x1b[31mred\x1b[2J") == 3
            assert joined.count("[/boxed]") == 3

    play(story())


def test_resizing_while_drawing(tmp_path: Path) -> None:
    root = survivors(tmp_path / "runs")

    async def story() -> None:
        async with bench(root) as view:
            for index in range(12):
                await view.resize(20 + (index * 37) % 180, 5 + (index * 13) % 60)
                await view.press("j" if index % 2 else "k")
                view.app.look()
            await view.resize(*NARROW)
            await view.until(lambda text: "torn" in text and len(view.lines()) == NARROW[1])

    play(story())


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many") / "runs"
    many(root, 1000)
    return root


def test_a_thousand_runs(thousand: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with bench(thousand) as view:
            await view.until("0999")
            table = view.app.screen.query_one("RunTable")
            made: list[int] = []
            row = type(table).row
            monkeypatch.setattr(
                type(table), "row", lambda self, index, width: made.append(index) or row(self, index, width)
            )
            await view.press("end")
            await view.until("0000")
            assert len(set(made)) <= 2 * NARROW[1]  # of a thousand
            await view.press("slash")
            await view.type("id=20260101-000500-many-0500")
            await view.press("enter")
            text = await view.until("0500")
            assert "0000" not in text.replace("000500", "")
            await view.until("1 of 1000 fit")

    play(story())


def test_an_empty_store_says_how_to_begin(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(tmp_path / "runs") as view:
            text = await view.until("start a first run")
            assert "f   start" in text
            await view.press("j", "k", "enter", "space", "p", "x", "u", "s", "l", "end")
            assert "start a first run" in view.text

    play(story())


def test_a_store_that_goes_and_comes_back(tmp_path: Path) -> None:
    root = survivors(tmp_path / "runs")

    async def story() -> None:
        async with bench(root) as view:
            await view.until("torn")
            await view.press("j", "j")
            root.rename(tmp_path / "away")
            await view.until("No runs in")
            await view.press("j", "enter", "space", "x")
            (tmp_path / "away").rename(root)
            await view.until("torn")

    play(story())


def test_a_run_that_is_removed_goes_and_a_new_one_comes(tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "runs"
    gone = add_run(root, "20260101-000001-gone-0001", name="going")
    add_run(root, "20260101-000002-stays-0002", name="staying")

    async def story() -> None:
        async with bench(root) as view:
            await view.until("going")
            shutil.rmtree(gone)
            add_run(root, "20260101-000003-new-0003", name="coming")
            await view.until("coming")
            await view.until_gone("going")
            assert "staying" in view.text

    play(story())


def test_metrics_of_a_running_run_are_read_on(tmp_path: Path) -> None:
    import fcntl
    import json

    root = tmp_path / "runs"
    run = add_run(root, "20260101-000001-goes-0001", name="going", steps=100, done=3, state=None, created=time.time())
    (run / "attempts" / "1").mkdir(parents=True)

    async def story() -> None:
        async with bench(root) as view:
            await view.until("3/100")
            with (run / "metrics.jsonl").open("a") as file:
                row = {"step": 4, "time": time.time(), "metrics": {"reward/mean": 0.777}}
                text = json.dumps(row) + "\n"
                file.write(text[:20])
                file.flush()
                await view.pilot.pause(0.6)  # half a line is not read
                assert "4/100" not in view.text
                file.write(text[20:])
            await view.until("4/100")
            await view.until("+0.777")

    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        play(story())


# Filter, sort, mark, compare.


def three(root: Path) -> Path:
    for number, (name, reward) in enumerate((("low", 0.1), ("high", 0.9), ("middle", 0.5)), 1):
        add_run(
            root,
            f"20260101-00000{number}-{name}-000{number}",
            ["gkl"] if name == "high" else [],
            name=name,
            created=BEGAN + 100 * number,
            metrics=lambda step, reward=reward: {"reward/mean": reward * step / 24},
        )
    return root


def names(view: View) -> list[str]:
    """Names of the runs, from top to bottom."""
    return [name for line in view.lines() for name in ("low", "high", "middle") if f" {name} 000" in line]


def test_filter_and_its_mistakes(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(three(tmp_path / "runs")) as view:
            await view.until("middle")
            await view.press("slash")
            await view.type("gkl")
            await view.press("enter")
            await view.until("1 of 3 fit `gkl`")
            assert names(view) == ["high"]
            await view.press("slash")
            await view.press("ctrl+u")
            await view.type("metrics.reward/mean>>1")
            await view.press("enter")
            await view.until("that did not work")
            assert len(names(view)) == 3
            await view.press("slash", "ctrl+u", "enter")
            await view.until_gone("that did not work")
            assert names(view) == ["middle", "high", "low"]

    play(story())


def test_sorted_by_reward(tmp_path: Path) -> None:
    async def story() -> None:
        async with bench(three(tmp_path / "runs")) as view:
            await view.until("middle")
            assert names(view) == ["middle", "high", "low"]
            await view.press("s", "s")
            await view.until("sorted by reward")
            assert names(view) == ["high", "middle", "low"]

    play(story())


def test_the_cursor_stays_on_its_run(tmp_path: Path) -> None:
    root = three(tmp_path / "runs")

    async def story() -> None:
        async with bench(root) as view:
            await view.until("middle")
            await view.press("j")
            table = view.app.screen.query_one("RunTable")
            assert table.current().name == "high"
            add_run(root, "20260102-000000-new-0009", name="newest")
            await view.until("newest")
            assert table.current().name == "high"

    play(story())


def test_marked_runs_are_compared_with_the_pinned_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    async def compare(_self: Workbench, words: list[str], _set: str | None = None) -> None:
        asked.append(words)

    monkeypatch.setattr(Workbench, "compare_runs", compare)

    async def story() -> None:
        async with bench(three(tmp_path / "runs")) as view:
            await view.until("middle")
            await view.press("space", "space")  # each goes one down: middle, high
            await view.press("p", "c")  # low
            await view.until(lambda _text: asked)
            assert [name.rpartition("-")[0][16:] for name in asked[0]] == ["low", "middle", "high"]
            assert view.line(" low ").startswith("◆")
            assert view.line(" high ").startswith(" •")

    play(story())


# Keys.


def test_a_keymap_file_changes_a_key(tmp_path: Path) -> None:
    keymap = tmp_path / "keys.toml"
    keymap.write_text('"runs.sort" = "y"\n[runs]\nfilter = "ctrl+f"\n')

    async def story() -> None:
        async with bench(three(tmp_path / "runs"), keymap=keymap) as view:
            await view.until("middle")
            await view.press("s")
            assert "sorted by" not in view.text
            await view.press("y")
            await view.until("sorted by")
            await view.press("ctrl+f")
            await view.until("Which runs?")

    play(story())


def test_readonly_changes_nothing(tmp_path: Path) -> None:
    root = three(tmp_path / "runs")
    before = sorted(str(path) for path in root.rglob("*") if path.name != ".index.json")

    async def story() -> None:
        async with bench(root, NARROW, readonly=True) as view:
            await view.until("read only")
            await view.press("u")
            await view.until("resume: this session is read only")
            await view.press("x")
            await view.until("stop: this session is read only")
        async with bench(tmp_path / "none", NARROW, readonly=True) as view:
            await view.press("f")
            await view.until("start: this session is read only")

    play(story())
    assert sorted(str(path) for path in root.rglob("*") if path.name != ".index.json") == before
    assert not (tmp_path / "none").exists()


def test_a_run_that_was_started_here_opens_without_being_called_gone(tmp_path: Path) -> None:
    many(tmp_path, 2)

    async def story() -> None:
        async with bench(tmp_path) as view:
            made = add_run(tmp_path, "20270101-000000-made-0000", name="made").name
            view.app.session.store.include(made)
            view.app.open_run(made)
            await view.until(made[-4:])
            texts = [view.text]
            for _ in range(3):
                view.app.look()
                before = view.app.session.snapshot
                await view.until(lambda _text, before=before: view.app.session.snapshot is not before)
                texts.append(view.text)
            assert not any("gone" in text for text in texts)

    play(story())


def test_f_pressed_twice_starts_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def start(root: Path) -> Sent:
        asked.append(root)
        time.sleep(0.3)
        return Sent(add_run(root, "20270101-000000-first-0000", name="first").name, "started")

    monkeypatch.setattr("dapoctl.tui.actions.runs.start_defaults", start)

    async def story() -> None:
        async with bench(tmp_path) as view:
            await view.press("f", "f")
            await view.until("first 0000")
            await view.press("f")
            assert "No runs" not in view.text

    play(story())
    assert len(asked) == 1


# In a wider one the inspector has the accuracies of all sets.
@pytest.mark.parametrize("size", [NARROW, (110, 30)])
def test_the_column_of_accuracies_is_of_one_set_and_says_of_which(size: tuple[int, int], tmp_path: Path) -> None:
    for number, figures in enumerate(({"gsm8k": 0.934}, {"gsm8k": 0.719}, {"gsm8k": 0.5, "aime24": 0.125})):
        add_run(tmp_path, f"2026010{number}-000000-run-000{number}", name=f"run{number}", steps=1, evals=figures)

    async def story() -> None:
        async with bench(tmp_path, size) as view:
            await view.until("93.4%")
            # The head is drawn with the table's width, a moment after the rows.
            await view.until("accuracy on gsm8k, t for 1 more")
            assert [part in view.text for part in ("71.9%", "50.0%", "12.5%")] == [True, True, False]
            await view.press("t")
            await view.until("12.5%")
            await view.until("accuracy on aime24, t for 1 more")
            assert not any(part in view.text for part in ("93.4%", "71.9%", "50.0%"))
            await view.press("s", "s", "s")
            await view.until("sorted by held-out")
            await view.until(lambda text: text.index("run2") < text.index("run0"))

    play(story())


def test_a_run_that_hangs_is_called_stalled_and_has_no_time_left(tmp_path: Path) -> None:
    run = add_run(
        tmp_path, "20260101-000000-hangs-0000", name="hangs", steps=100, done=20, state=None, created=time.time()
    )
    folder = run / "attempts" / "1"
    write_json(folder / "proc.json", {"pid": 1})
    held = try_lock(run / LOCK)
    assert held is not None
    said = {"time": time.time(), "step": 20, "phase": "generate", "done": 0, "total": 1, "longest": 1.0}

    async def story() -> None:
        async with bench(tmp_path, WIDE) as view:
            write_json(folder / "progress.json", said)
            view.app.look()
            await view.until(lambda text: "● running" in text and TIME.search(view.line("● running")))
            write_json(folder / "progress.json", said | {"time": time.time() - 121})
            view.app.look()
            await view.until("▲ stalled")
            assert "no word for 2 min" in view.text
            assert not TIME.search(view.line("▲ stalled"))

    try:
        play(story())
    finally:
        release(held)
