"""The screen of a run, on runs that the trainer made: what it shows is what the files say, at every size."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from dapoctl import trainer
from dapoctl.config.load import load
from dapoctl.runs.files import read_lines
from dapoctl.tui.screens.run import RunScreen
from dapoctl.tui.screens.run.charts import ChartsPane
from dapoctl.tui.screens.run.logs import LogsPane
from dapoctl.tui.screens.run.samples import SamplesPane
from dapoctl.tui.screens.run.screen import TABS
from dapoctl.tui.widgets.chart import Chart
from dapoctl.tui.widgets.log_view import LogView
from dapoctl.tui.widgets.text_view import TextView
from tests.background import SHORT
from tests.tui import NARROW, SIZES, SMALL, WIDE, View, bench, play

SETTINGS = [*SHORT[:-1], "steps=4", "eval.every=2", "eval.limit=8"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two runs; nobody writes to it."""
    root = tmp_path_factory.mktemp("store") / "runs"
    for seed, plugins in ((1, ["clip_higher", "gkl"]), (2, ["dapo"])):
        overrides = [*SETTINGS, f"seed={seed}"]
        trainer.start(load([], overrides, {"plugins": plugins}), root, ["dapoctl", "run", *overrides])
    for run in root.iterdir():
        # The attempt's log is written by whoever starts a run in the background.
        steps = "".join(f"step {row['step']}/4 reward={row['metrics'].get('reward/mean')}\n" for row in rows_of(run))
        (run / "attempts" / "1" / "stdout.log").write_text(f"{steps}finished\n")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it to write to."""
    return Path(shutil.copytree(made, tmp_path / "runs", ignore=shutil.ignore_patterns("checkpoints")))


def runs_of(root: Path) -> list[Path]:
    """The run with a penalty over the vocabulary, and the other."""
    first, second = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [first, second] if "gkl" in first.name else [second, first]


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [row for row in read_lines(run / "metrics.jsonl") if "metrics" in row]


def add_metrics(run: Path, rows: list[dict[str, Any]]) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


async def open_tab(view: View, run: Path, tab: str = "charts") -> RunScreen:
    view.app.open_run(run.name, tab)
    screen: RunScreen | None = None
    while screen is None or screen.pane is None:
        await view.pilot.pause(0.02)
        screen = view.app.screen if isinstance(view.app.screen, RunScreen) else None
    return screen


def pane_of(view: View, kind: type[Any]) -> Any:
    return view.app.screen.query_one(kind)


# The head and the tabs.


@pytest.mark.parametrize("size", SIZES)
def test_every_tab_at_every_size(made: Path, size: tuple[int, int]) -> None:
    async def story() -> None:
        async with bench(made, size) as view:
            run, _ = runs_of(made)
            await view.until("finished")
            await open_tab(view, run)
            shown = {"charts": "reward", "logs": "attempt 1", "samples": "group 1/", "evals": "arithmetic",
                     "config": "not as by default", "events": "finished"}  # fmt: skip
            for tab in TABS:
                await view.press(tab.letter)
                await view.until(shown[tab.name])
                assert "4/4" in view.line("finished")
                assert all(len(line) <= size[0] for line in view.lines())
            await view.press("tab")
            await view.until("reward")
            await view.press("shift+tab", "shift+tab")
            await view.until("not as by default")
            await view.press("escape")
            await view.until(lambda _text: not isinstance(view.app.screen, RunScreen))

    play(story())


def test_why_it_failed_stands_at_the_top(root: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        folder = run / "attempts" / "1"
        (folder / "exit.json").write_text(
            json.dumps({"schema": 1, "state": "failed", "error": "CUDA [/red] out of memory"})
        )
        async with bench(root) as view:
            await open_tab(view, run)
            await view.until("✗ failed")
            assert view.lines()[2] == "CUDA [/red] out of memory"

    play(story())


# Charts.


def test_charts_show_the_run_and_its_penalty_without_knowing_its_name(made: Path) -> None:
    async def story() -> None:
        async with bench(made, WIDE) as view:
            run, _ = runs_of(made)
            last = rows_of(run)[-1]["metrics"]
            await open_tab(view, run)
            text = await view.until("gradient norm")
            titles = [chart.heading for chart in view.app.screen.query("#grid Chart").results(Chart)]
            own = [name for name in last if name.startswith("policy/gkl")]
            assert own
            assert titles[:2] == ["reward", "accuracy"]
            assert "gkl" in titles[2:8]
            assert f"reward  {last['reward/mean']:.3f}" in text
            assert f"accuracy  {100 * last['score/accuracy']:.1f}%" in text
            assert len(titles) == len({*titles})
            await view.press("h")
            await view.until("What is looked at")

    play(story())


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_zoom_read_log_smooth_and_overlay(made: Path, size: tuple[int, int]) -> None:
    async def story() -> None:
        async with bench(made, size) as view:
            run, other = runs_of(made)
            rewards = {
                row["step"]: row["metrics"]["reward/mean"] for row in rows_of(run) if "reward/mean" in row["metrics"]
            }
            await open_tab(view, run)
            await view.until("▸reward")
            await view.press("enter")
            await view.until("reward/mean   4 points")
            await view.press("i", "left", "left")
            await view.until("step 2")
            await view.until(f"reward  {rewards[2]:.3f}")
            await view.press("i", "g")
            below = sum(value <= 0 for value in rewards.values())
            await view.until("log scale")
            assert not below or f"{below} ≤ 0 left out" in view.text or "nothing above 0" in view.text
            await view.press("g", "m")
            await view.until("smooth 0.8 (the raw course is faint)")
            await view.press("o")
            await view.until("nothing to overlay")
            view.app.marked.append(other.name)
            theirs = [row["metrics"]["reward/mean"] for row in rows_of(other) if "reward/mean" in row["metrics"]]
            await view.press("m", "m", "o")
            await view.until(f"1 {theirs[-1]:.3f}")
            await view.press("down")
            await view.until("score/accuracy   4 points")
            await view.press("escape")
            await view.until("held-out" if size == WIDE else "▸accuracy")
            assert pane_of(view, ChartsPane).zoomed is None
            await view.press("right", "enter")
            await view.until("points")

    play(story())


def test_a_run_without_metrics_and_one_that_begins(root: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        kept = (run / "metrics.jsonl").read_text()
        (run / "metrics.jsonl").unlink()
        async with bench(root) as view:
            await open_tab(view, run)
            await view.until("No metrics yet")
            await view.press("enter", "i", "left", "g", "m", "o", "down", "end")
            (run / "metrics.jsonl").write_text(kept)
            await view.until("reward  ")
            await view.until("▸reward")

    play(story())


def test_metrics_that_are_no_numbers_and_files_that_are_damaged(root: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        with (run / "metrics.jsonl").open("ab") as file:
            file.write(b"\x00\xff\xfe torn {\n[1, 2]\n" + b'{"step": 5, "time": 1.0, "metrics": {"policy/loss": "NaN"')
            file.write(b"\n" + b'{"step": "x", "metrics": 3}\n' + b"9" * 5000 + b"\n")
        for step, value in enumerate(("NaN", "Infinity", "-Infinity", "what", 1e308, -1e308), 5):
            metrics = {"reward/mean": value, "policy/[bold]x[/bold]": 1.0, "policy/entropy": 0.5}
            add_metrics(run, [{"step": step, "time": 1.0, "metrics": metrics}])
        async with bench(root) as view:
            await open_tab(view, run)
            await view.until("! 4 not finite")
            assert "✗ not finite at step 8: reward/mean" in view.line("not finite at")
            pane = pane_of(view, ChartsPane)
            assert "[bold]x[/bold]" in [panel.title for panel in pane.panels]
            await view.press("g")
            await view.until("left out")
            await view.resize(*WIDE)
            await view.until("[bold]x[/bold]")
            for _ in range(4):
                await view.resize(*SMALL)
                await view.press("down", "enter", "enter")
                await view.resize(*WIDE)
            await view.until("policy" if "policy" in view.text else "reward")

    play(story())


def test_a_folder_that_goes_away_and_comes_back(root: Path, tmp_path: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        async with bench(root) as view:
            await open_tab(view, run)
            await view.until("▸reward")
            await view.press("enter")
            await view.until("reward/mean   4 points")
            run.rename(tmp_path / "away")
            view.app.watch_store._folders = -math.inf
            await view.until("its folder is gone")
            await view.until("No metrics yet")
            for tab in TABS:
                await view.press(tab.letter)
                await view.pilot.pause(0.1)
            (tmp_path / "away").rename(run)
            view.app.watch_store._folders = -math.inf
            await view.until("✓ finished")
            await view.press("c")
            await view.until("reward  ")
            await view.press("s")
            await view.until("group 1/")

    play(story())


def test_steps_are_drawn_as_they_come(root: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        async with bench(root) as view:
            await open_tab(view, run)
            await view.until("reward  ")
            add_metrics(run, [{"step": 5, "time": time.time(), "metrics": {"reward/mean": 0.777}}])
            await view.until("reward  0.777")

    play(story())


# Logs.


def log_of(run: Path, attempt: int = 1) -> Path:
    return run / "attempts" / str(attempt) / "stdout.log"


@pytest.mark.parametrize("size", SIZES)
def test_a_log_is_followed_searched_and_filtered(root: Path, size: tuple[int, int]) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        lines = [f"line {number} {'loss' if number % 100 == 7 else 'step'}" for number in range(1, 5001)]
        lines[2999] = "ValueError: no such thing"
        log_of(run).write_text("\n".join(lines) + "\n")
        async with bench(root, size) as view:
            await open_tab(view, run, "logs")
            await view.until("line 5000 step")
            state = lambda: str(pane_of(view, LogsPane).query_one("#log-state", Static).content)  # noqa: E731
            await view.until(lambda _text: "line 5,000 (100%" in state())
            with log_of(run).open("a") as file:
                file.write("10%\r55%\r100% done\nlast one\n")
            await view.until("last one")
            assert view.line("done") == "100% done"
            await view.press("E")
            await view.until("ValueError: no such thing")
            await view.until(lambda _text: "line 3,000 (" in state())
            await view.press("slash")
            await view.until("Find which text?")
            await view.type("LOSS")
            await view.press("enter")
            await view.until("not found")
            await view.press("slash", *["backspace"] * 4)
            await view.type("loss")
            await view.press("enter")
            await view.until("line 3007 loss")
            await view.press("n")
            await view.until("line 3107 loss")
            await view.press("N", "N")
            await view.until("line 2907 loss")
            await view.press("colon")
            await view.until("Go to which line?")
            await view.type("1234")
            await view.press("enter")
            await view.until(lambda _text: "line 1,234 (" in state())
            await view.press("ampersand")
            await view.until("Keep only")
            await view.press("enter")
            await view.until(lambda _text: "only 50 lines" in state())
            await view.until("line 4907 loss")
            assert "step" not in "\n".join(view.lines()[4:-1])
            await view.press("home")
            await view.until("line 7 loss")
            await view.press("escape", "end")
            await view.until("last one")
            await view.press("home")
            await view.until("line 1 step")
            for _ in range(3):
                await view.press("pagedown")
            height = view.app.screen.query_one(LogView).size.height
            await view.until(f"line {3 * max(1, height - 1) + 1} ")

    play(story())


def test_a_log_that_is_replaced_and_other_attempts(root: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        async with bench(root) as view:
            await open_tab(view, run, "logs")
            await view.until("finished")
            log_of(run).write_text("anew\n")
            await view.until("anew")
            log_of(run, 2).parent.mkdir()
            log_of(run, 2).write_text("the second attempt\n")
            await view.until("the second attempt")
            await view.until("attempt 2 of 2")
            await view.press("less_than_sign")
            await view.until("anew")
            await view.press("a")
            await view.until("the second attempt")
            log_of(run, 2).write_text("")
            await view.until("nothing was said yet")
            log_of(run, 2).unlink()
            await view.until("no log: in the foreground it speaks to its terminal")

    play(story())


def test_what_a_log_says_does_nothing_to_the_terminal(root: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        nasty = ["\x1b[31mred\x1b[0m \x1b]0;title\x07", "[/boxed] [a for a in b] [bold]", "tab\there", "🙂 שלום \u202e abc",
                 "z" * 100_000]  # fmt: skip
        log_of(run).write_text("\n".join(nasty) + "\n")
        async with bench(root) as view:
            await open_tab(view, run, "logs")
            await view.until("\\x1b[31mred\\x1b[0m")
            text = view.text
            assert "[/boxed] [a for a in b] [bold]" in text
            assert "tab here" in text
            assert "\\u202e" in text
            assert "\x1b" not in text
            assert view.line("zzz").endswith("…")
            await view.press("enter")
            await view.until("the whole line")
            page = view.app.screen.query_one(TextView)
            await view.until(
                lambda _text: sum(len(line) for line in page.lines()) == 65_536 or "zzz" in "".join(page.lines())
            )
            assert sum(line.count("z") for line in page.lines()) == 100_000

    play(story())


# Samples.


def samples_of(run: Path, step: int) -> list[dict[str, Any]]:
    return [row for row in read_lines(run / "samples" / f"step_{step}.jsonl") if "schema" not in row]


def test_samples_tell_why_that_reward(made: Path) -> None:
    async def story() -> None:
        async with bench(made, WIDE) as view:
            _, run = runs_of(made)
            rows = samples_of(run, 4)
            await open_tab(view, run, "samples")
            await view.until("step 4 of 4   group 1/")
            first = rows[0]
            text = await view.until("response")
            assert f"reward {first['reward']:+.3f} = score {first['score']:+.3f}, overlong" in text
            if first["advantage"] is not None:
                assert f"advantage {first['advantage']:+.3f}" in text
            else:
                assert f"dropped by {first['dropped_by']}" in text
            assert first["response"][:40].strip() in text
            assert f"{first['tokens']} tokens" in text
            await view.press("n")
            await view.until("response 2/4")
            await view.until(f"{rows[1]['tokens']} tokens")
            await view.press("j")
            await view.until(rows[4]["problem"])
            await view.until("group 2/")
            await view.press("left")
            await view.until("step 3 of 4")
            await view.press("left_square_bracket", "left_square_bracket", "left")
            await view.until("step 1 of 4")
            await view.press("colon", "4", "enter")
            await view.until("step 4 of 4")

    play(story())


NASTY = (
    "\x1b[2Jx [/boxed] [a for a in b] **bold** [link](https://example.org) ![img](file:///etc/passwd)\ttab 🙂 שלום"
    " \u202e end"
)


@pytest.mark.parametrize("size", SIZES)
def test_a_response_of_a_hundred_thousand_characters(root: Path, size: tuple[int, int]) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        rows = samples_of(run, 4)
        rows[0]["response"] = NASTY + "\n" + "word 🙂 " * 7000 + "x" * 50_000 + "\nthe very end"
        (run / "samples" / "step_4.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [{"schema": 1, "kind": "samples"}, *rows])
        )
        async with bench(root, size) as view:
            await open_tab(view, run, "samples")
            await view.until("group 1/")
            reader = view.app.screen.query_one(TextView)
            await view.until(lambda _text: any("the very end" in line for line in reader.lines()))
            await view.press("z")
            await view.until(lambda _text: not any("prompt (z" in line for line in reader.lines()))
            # A line broken at a space has it on neither side.
            text = "".join(reader.lines()).replace(" ", "")
            assert "\\x1b[2Jx[/boxed][aforainb]**bold**[link](https://example.org)" in text
            assert "\\u202e" in text
            slowest = 0.0
            for press in ("pagedown", "pagedown", "end", "pageup", "home"):
                begun = time.perf_counter()
                await view.press(press)
                view.app.screen._compositor.render_strips()
                slowest = max(slowest, time.perf_counter() - begun)
            print(f"{size}: slowest key on 100,000 characters {1000 * slowest:.0f} ms")
            await view.press("end")
            await view.until("the very end")
            await view.press("m", "home")
            await view.until(lambda _text: any("as Markdown" in line for line in reader.lines()))
            await view.until(lambda _text: not any("**bold**" in line for line in reader.lines()))
            assert not any(segment.style and segment.style.link for y in range(20) for segment in reader.render_line(y))
            await view.resize(50, 20)
            await view.press("m")
            await view.until(lambda _text: any("**bold**" in line for line in reader.lines()))

    play(story())


def test_damaged_samples_are_counted_and_left_out(root: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        path = run / "samples" / "step_4.jsonl"
        rows = path.read_bytes().splitlines(keepends=True)
        rows[1] = b"\xff\x00 torn\n"
        rows.insert(2, b'{"response": 3}\n')
        rows.insert(3, b'{"response": "only", "terms": [1], "score": "x", "advantage": "y", "step": []}\n')
        path.write_bytes(b"".join(rows) + b'{"response": "not who')
        (run / "samples" / "step_5.jsonl").write_bytes(b"")
        (run / "samples" / "step_x.jsonl").write_bytes(b"")
        async with bench(root) as view:
            await open_tab(view, run, "samples")
            await view.until("No response of this step can be read")
            await view.press("left")
            await view.until("2 damaged rows left out")
            pane = pane_of(view, SamplesPane)
            assert "" in [group.problem for group in pane.found.groups]
            await view.until("score nan")

    play(story())


# Evals, config, events.


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_evals_are_the_summaries(made: Path, size: tuple[int, int]) -> None:
    async def story() -> None:
        async with bench(made, size) as view:
            run, _ = runs_of(made)
            await open_tab(view, run, "evals")
            await view.until("95% interval")
            for step in (0, 2, 4):
                metrics = json.loads((run / f"evals/arithmetic/step_{step}/summary.json").read_text())["metrics"]
                low, high = (metrics[f"eval/arithmetic/avg@1/{end}"] for end in ("low", "high"))
                row = next(line for line in view.lines() if f" {step} " in line and "avg@1" in line)
                assert f"avg@1 {100 * metrics['eval/arithmetic/avg@1']:.1f}%" in row
                assert f"{100 * low:.1f}%-{100 * high:.1f}%" in row
            chart = view.app.screen.query_one("EvalsPane Chart", Chart)
            assert [len(curve.steps) for curve in chart.curves] == [3, 3, 3]

    play(story())


def test_an_evaluation_is_compared_with_the_first_or_with_the_baseline(made: Path) -> None:
    async def story() -> None:
        asked: list[tuple[list[str], str | None]] = []

        async def compare_runs(words: list[str], set_: str | None = None) -> None:
            asked.append((words, set_))

        async with bench(made) as view:
            run, other = runs_of(made)
            view.app.compare_runs = compare_runs  # type: ignore[method-assign]
            await open_tab(view, run, "evals")
            await view.until("95% interval")
            await view.press("enter")
            await view.until(lambda _text: asked)
            view.app.baseline = other.name
            await view.press("up", "enter")
            await view.until(lambda _text: len(asked) == 2)
            view.app.baseline = None
            await view.press("home", "enter")
            await view.until("this is the first")
            assert asked == [
                ([f"{run.name}@0", f"{run.name}@4"], "arithmetic"),
                ([other.name, f"{run.name}@2"], "arithmetic"),
            ]

    play(story())


def test_evals_that_are_damaged_or_missing(root: Path) -> None:
    async def story() -> None:
        run, other = runs_of(root)
        (run / "evals" / "arithmetic" / "step_2" / "summary.json").write_text("{torn")
        (run / "evals" / "arithmetic" / "step_4" / "summary.json").write_text(
            json.dumps({"complete": False, "metrics": 3})
        )
        shutil.rmtree(other / "evals")
        async with bench(root, WIDE) as view:
            await open_tab(view, run, "evals")
            await view.until("! summary.json is damaged")
            assert "! not complete" in view.text
            await view.press("escape")
            await open_tab(view, other, "evals")
            await view.until(f"dapoctl eval {other.name} --task aime24")

    play(story())


def test_config_marks_what_is_not_as_usual_and_what_the_baseline_has(made: Path) -> None:
    async def story() -> None:
        async with bench(made, WIDE) as view:
            run, other = runs_of(made)
            await open_tab(view, run, "config")
            text = await view.until("* steps = 4   # default 60")
            assert "* seed = 1   # default 0" in text
            assert '  task = "arithmetic"' in text
            await view.press("d")
            await view.until(lambda text: "arithmetic" not in text)
            await view.press("d")
            view.app.baseline = other.name
            view.app.look()
            await view.until("≠ seed = 1   # default 0, baseline 2")
            await view.press("end")
            text = await view.until("python")
            assert "dapoctl run" in text

    play(story())


def test_config_of_a_run_whose_components_are_gone(root: Path) -> None:
    async def story() -> None:
        run, other = runs_of(root)
        spec = json.loads((run / "spec.json").read_text())
        spec["config"]["plugins"] = ["no_such_component"]
        (run / "spec.json").write_text(json.dumps(spec))
        (other / "spec.json").write_text("{torn")
        async with bench(root, WIDE) as view:
            await open_tab(view, run, "config")
            await view.until("the defaults cannot be told")
            assert 'plugins = ["no_such_component"]' in view.text
            await view.press("escape")
            await open_tab(view, other, "config")
            await view.until("spec.json is damaged")

    play(story())


def test_events_are_shown_as_they_come(root: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(root)
        async with bench(root) as view:
            await open_tab(view, run, "events")
            await view.until("finished")
            with (run / "events.jsonl").open("a") as file:
                event = {"time": "?", "attempt": 2, "event": "warning", "message": "beware [/red] \x1b[1m"}
                file.write(json.dumps(event) + "\ntorn\n")
            await view.until("beware [/red] \\x1b[1m")
            await view.press("end", "enter")
            await view.until("event      warning")
            await view.press("escape")
            (run / "events.jsonl").unlink()
            await view.until("Nothing happened yet")

    play(story())


# Keys that act on runs.


def test_readonly_refuses_to_stop_and_resume(made: Path) -> None:
    async def story() -> None:
        async with bench(made, readonly=True) as view:
            run, _ = runs_of(made)
            await open_tab(view, run)
            await view.press("x")
            await view.until("stop: this session is read only")
            await view.press("u")
            await view.until("resume: this session is read only")

    play(story())


def test_stopping_what_has_ended_says_so(made: Path) -> None:
    async def story() -> None:
        async with bench(made) as view:
            run, _ = runs_of(made)
            await open_tab(view, run, "events")
            await view.until("✓ finished")
            await view.press("x")
            await view.until("nothing to stop: finished")

    play(story())


def test_help_tells_the_keys_of_the_tab_in_front(made: Path) -> None:
    async def story() -> None:
        async with bench(made, WIDE) as view:
            run, _ = runs_of(made)
            await open_tab(view, run)
            await view.until("▸reward")
            await view.press("question_mark")
            text = await view.until("is it learning, is it healthy?")
            assert "charts.overlay" in text
            assert "run.next_tab" in text
            await view.press("escape", "l")
            await view.until("attempt 1")
            await view.press("question_mark")
            await view.until("logs.keep")
            assert "charts.overlay" not in view.text

    play(story())
