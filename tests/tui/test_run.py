"""The screen of a run, on runs that the trainer made: what it shows is what the files say, at every size."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from dapoctl.tui.run import RunScreen
from dapoctl.tui.run.charts import ChartsPane
from dapoctl.tui.run.screen import TABS
from dapoctl.tui.widgets.chart import Chart
from tests.support.run_screen import add_metrics, open_tab, pane_of, rows_of, runs_of
from tests.support.tui import SIZES, SMALL, WIDE, bench, play


@pytest.mark.parametrize("size", SIZES)
def test_every_tab_at_every_size(trained: Path, size: tuple[int, int]) -> None:
    async def story() -> None:
        async with bench(trained, size) as view:
            run, _ = runs_of(trained)
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


def test_why_it_failed_stands_at_the_top(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        folder = run / "attempts" / "1"
        (folder / "exit.json").write_text(
            json.dumps({"schema": 1, "state": "failed", "error": "CUDA [/red] out of memory"})
        )
        async with bench(trained_copy) as view:
            await open_tab(view, run)
            await view.until("✗ failed")
            assert view.lines()[2] == "CUDA [/red] out of memory"

    play(story())


# Charts.


def test_charts_show_the_run_and_its_penalty_without_knowing_its_name(trained: Path) -> None:
    async def story() -> None:
        async with bench(trained, WIDE) as view:
            run, _ = runs_of(trained)
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


def test_zoom_read_log_smooth_and_overlay(trained: Path) -> None:
    async def story() -> None:
        async with bench(trained) as view:
            run, other = runs_of(trained)
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
            view.app.session.marked.append(other.name)
            theirs = [row["metrics"]["reward/mean"] for row in rows_of(other) if "reward/mean" in row["metrics"]]
            await view.press("m", "m", "o")
            await view.until(f"1 {theirs[-1]:.3f}")
            await view.press("down")
            await view.until("score/accuracy   4 points")
            await view.press("escape")
            await view.until("▸accuracy")
            assert pane_of(view, ChartsPane).zoomed is None
            await view.press("right", "enter")
            await view.until("points")

    play(story())


def test_a_run_without_metrics_and_one_that_begins(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        kept = (run / "metrics.jsonl").read_text()
        (run / "metrics.jsonl").unlink()
        async with bench(trained_copy) as view:
            await open_tab(view, run)
            await view.until("No metrics yet")
            await view.press("enter", "i", "left", "g", "m", "o", "down", "end")
            (run / "metrics.jsonl").write_text(kept)
            await view.until("reward  ")
            await view.until("▸reward")

    play(story())


@pytest.mark.slow
def test_metrics_that_are_no_numbers_and_files_that_are_damaged(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        with (run / "metrics.jsonl").open("ab") as file:
            file.write(b"\x00\xff\xfe torn {\n[1, 2]\n" + b'{"step": 5, "time": 1.0, "metrics": {"policy/loss": "NaN"')
            file.write(b"\n" + b'{"step": "x", "metrics": 3}\n' + b"9" * 5000 + b"\n")
        for step, value in enumerate(("NaN", "Infinity", "-Infinity", "what", 1e308, -1e308), 5):
            metrics = {"reward/mean": value, "policy/[bold]x[/bold]": 1.0, "policy/entropy": 0.5}
            add_metrics(run, [{"step": step, "time": 1.0, "metrics": metrics}])
        async with bench(trained_copy) as view:
            await open_tab(view, run)
            await view.until("! 4 not finite")
            await view.until("✗ not finite at step 8: reward/mean")
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


def test_a_folder_that_goes_away_and_comes_back(trained_copy: Path, tmp_path: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        async with bench(trained_copy) as view:
            await open_tab(view, run)
            await view.until("▸reward")
            await view.press("enter")
            await view.until("reward/mean   4 points")
            run.rename(tmp_path / "away")
            view.app.session.store._folders = -math.inf
            await view.until("its folder is gone")
            await view.until("No metrics yet")
            for tab in TABS:
                await view.press(tab.letter)
                await view.pilot.pause(0.1)
            (tmp_path / "away").rename(run)
            view.app.session.store._folders = -math.inf
            await view.until("✓ finished")
            await view.press("c")
            await view.until("reward  ")
            await view.press("s")
            await view.until("group 1/")

    play(story())


def test_steps_are_drawn_as_they_come(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        async with bench(trained_copy) as view:
            await open_tab(view, run)
            await view.until("reward  ")
            add_metrics(run, [{"step": 5, "time": time.time(), "metrics": {"reward/mean": 0.777}}])
            await view.until("reward  0.777")

    play(story())


# Logs.


def test_readonly_refuses_to_stop_and_resume(trained: Path) -> None:
    async def story() -> None:
        async with bench(trained, readonly=True) as view:
            run, _ = runs_of(trained)
            await open_tab(view, run)
            await view.press("x")
            await view.until("stop: this session is read only")
            await view.press("u")
            await view.until("resume: this session is read only")

    play(story())


def test_stopping_what_has_ended_says_so(trained: Path) -> None:
    async def story() -> None:
        async with bench(trained) as view:
            run, _ = runs_of(trained)
            await open_tab(view, run, "events")
            await view.until("✓ finished")
            await view.press("x")
            await view.until("nothing to stop: finished")

    play(story())


def test_help_tells_the_keys_of_the_tab_in_front(trained: Path) -> None:
    async def story() -> None:
        async with bench(trained, WIDE) as view:
            run, _ = runs_of(trained)
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
