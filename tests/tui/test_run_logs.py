"""The log of a run on its screen: followed, searched, filtered, and harmless."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Static

from dapoctl.tui.run.log_view import LogView
from dapoctl.tui.run.logs import LogsPane
from dapoctl.tui.widgets.text_view import TextView
from tests.support.run_screen import log_of, open_tab, pane_of, runs_of
from tests.support.tui import bench, play


def test_a_log_is_followed_searched_and_filtered(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        lines = [f"line {number} {'loss' if number % 100 == 7 else 'step'}" for number in range(1, 5001)]
        lines[2999] = "ValueError: no such thing"
        log_of(run).write_text("\n".join(lines) + "\n")
        async with bench(trained_copy) as view:
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


def test_a_log_that_is_replaced_and_other_attempts(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        async with bench(trained_copy) as view:
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


def test_what_a_log_says_does_nothing_to_the_terminal(trained_copy: Path) -> None:
    async def story() -> None:
        run, _ = runs_of(trained_copy)
        nasty = ["\x1b[31mred\x1b[0m \x1b]0;title\x07", "[/boxed] [a for a in b] [bold]", "tab\there", "🙂 שלום \u202e abc",
                 "z" * 100_000]  # fmt: skip
        log_of(run).write_text("\n".join(nasty) + "\n")
        async with bench(trained_copy) as view:
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
