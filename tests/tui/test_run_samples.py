"""Responses of a run on its screen: why each earned its reward, at any length and with anything in it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from dapoctl.tui.run.samples import SamplesPane
from dapoctl.tui.widgets.text_view import TextView
from tests.support.run_screen import open_tab, pane_of, runs_of, samples_of
from tests.support.tui import WIDE, bench, play


def test_samples_tell_why_that_reward(trained: Path) -> None:
    async def story() -> None:
        async with bench(trained, WIDE) as view:
            _, run = runs_of(trained)
            rows = samples_of(run, 4)
            await open_tab(view, run, "samples")
            await view.until("step 4 of 4   group 1/")
            first = rows[0]
            text = await view.until(f"{first['tokens']} tokens")
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


@pytest.mark.slow
def test_a_response_of_a_hundred_thousand_characters(trained_copy: Path) -> None:
    """Slow: a hundred thousand characters, laid out a dozen times."""

    async def story() -> None:
        run, _ = runs_of(trained_copy)
        rows = samples_of(run, 4)
        rows[0]["response"] = NASTY + "\n" + "word 🙂 " * 7000 + "x" * 50_000 + "\nthe very end"
        (run / "samples" / "step_4.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [{"schema": 1, "kind": "samples"}, *rows])
        )
        async with bench(trained_copy) as view:
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
            print(f"slowest key on 100,000 characters {1000 * slowest:.0f} ms")
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


def test_damaged_samples_are_counted_and_left_out(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        path = run / "samples" / "step_4.jsonl"
        rows = path.read_bytes().splitlines(keepends=True)
        rows[1] = b"\xff\x00 torn\n"
        rows.insert(2, b'{"response": 3}\n')
        rows.insert(3, b'{"response": "only", "terms": [1], "score": "x", "advantage": "y", "step": []}\n')
        path.write_bytes(b"".join(rows) + b'{"response": "not who')
        (run / "samples" / "step_5.jsonl").write_bytes(b"")
        (run / "samples" / "step_x.jsonl").write_bytes(b"")
        async with bench(trained_copy) as view:
            await open_tab(view, run, "samples")
            await view.until("No response of this step can be read")
            await view.press("left")
            await view.until("2 damaged rows left out")
            pane = pane_of(view, SamplesPane)
            assert "" in [group.problem for group in pane.found.groups]
            await view.until("score nan")

    play(story())


# Evals, config, events.
