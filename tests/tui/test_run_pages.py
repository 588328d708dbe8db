"""Evaluations, configuration and events of a run on its screen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from dapoctl.tui.widgets.chart import Chart
from tests.support.run_screen import open_tab, runs_of
from tests.support.tui import WIDE, bench, play


def test_evals_are_the_summaries(trained: Path) -> None:
    async def story() -> None:
        async with bench(trained) as view:
            run, _ = runs_of(trained)
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


def test_an_evaluation_is_compared_with_the_first_or_with_the_baseline(trained: Path) -> None:
    async def story() -> None:
        asked: list[tuple[list[str], str | None]] = []

        async def compare_runs(words: list[str], set_: str | None = None) -> None:
            asked.append((words, set_))

        async with bench(trained) as view:
            run, other = runs_of(trained)
            view.app.compare_runs = compare_runs  # type: ignore[method-assign]
            await open_tab(view, run, "evals")
            await view.until("95% interval")
            await view.press("enter")
            await view.until(lambda _text: asked)
            view.app.session.baseline = other.name
            await view.press("up", "enter")
            await view.until(lambda _text: len(asked) == 2)
            view.app.session.baseline = None
            await view.press("home", "enter")
            await view.until("this is the first")
            assert asked == [
                ([f"{run.name}@0", f"{run.name}@4"], "arithmetic"),
                ([other.name, f"{run.name}@2"], "arithmetic"),
            ]

    play(story())


def test_evals_that_are_damaged_or_missing(trained_copy: Path) -> None:
    async def story() -> None:
        run, other = runs_of(trained_copy)
        (run / "evals" / "arithmetic" / "step_2" / "summary.json").write_text("{torn")
        (run / "evals" / "arithmetic" / "step_4" / "summary.json").write_text(
            json.dumps({"complete": False, "metrics": 3})
        )
        shutil.rmtree(other / "evals")
        async with bench(trained_copy, WIDE) as view:
            await open_tab(view, run, "evals")
            await view.until("! summary.json is damaged")
            assert "! not complete" in view.text
            await view.press("escape")
            await open_tab(view, other, "evals")
            await view.until(f"dapoctl eval {other.name} --task aime24")

    play(story())


def test_config_marks_what_is_not_as_usual_and_what_the_baseline_has(trained: Path) -> None:
    async def story() -> None:
        async with bench(trained, WIDE) as view:
            run, other = runs_of(trained)
            await open_tab(view, run, "config")
            text = await view.until("* steps = 4   # default 60")
            assert "* seed = 1   # default 0" in text
            assert '  task = "arithmetic"' in text
            await view.press("d")
            await view.until(lambda text: "arithmetic" not in text)
            await view.press("d")
            view.app.session.baseline = other.name
            view.app.look()
            await view.until("≠ seed = 1   # default 0, baseline 2")
            # Under it stands what the checkout had that no commit has, of any length.
            for _ in range(100):
                if "python" in view.text:
                    break
                await view.press("pagedown")
            assert "dapoctl run" in await view.until("python")

    play(story())


def test_config_of_a_run_whose_components_are_gone(trained_copy: Path) -> None:
    async def story() -> None:
        run, other = runs_of(trained_copy)
        spec = json.loads((run / "spec.json").read_text())
        spec["config"]["plugins"] = ["no_such_component"]
        (run / "spec.json").write_text(json.dumps(spec))
        (other / "spec.json").write_text("{torn")
        async with bench(trained_copy, WIDE) as view:
            await open_tab(view, run, "config")
            await view.until("the defaults cannot be told")
            assert 'plugins = ["no_such_component"]' in view.text
            await view.press("escape")
            await open_tab(view, other, "config")
            await view.until("spec.json is damaged")

    play(story())


def test_events_are_shown_as_they_come(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        async with bench(trained_copy) as view:
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
