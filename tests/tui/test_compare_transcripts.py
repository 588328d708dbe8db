"""Transcripts: two responses side by side, whatever is in them, and the lines that they are wrapped to."""

from __future__ import annotations

import itertools
import random
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from dapoctl.tui.compare.transcript import Transcript, lay_out
from dapoctl.tui.compare.transcript_pair import TranscriptPair
from dapoctl.tui.compare.transcripts_screen import TranscriptsScreen
from dapoctl.tui.widgets.wrapping import wrap
from tests.support.compare_screens import SIZES, bench_of, play, shown, text, transcripts, until
from tests.support.evaluations import counted, evaluate, make_run, row, rows_of

A, B, C = "20260101-000000-grpo-aaaa", "20260102-000000-wider-bbbb", "20260103-000000-longer-cccc"
LONG = "".join(f"Step {n}: carry the {n % 10} and go on. " for n in range(3000))


def stored(root: Path, name: str, responses: list[str], problem: str = "p00", **changed: Any) -> None:
    rows = [row(problem, place, place == 0, response=words, **changed) for place, words in enumerate(responses)]
    evaluate(make_run(root, name), rows, k=len(responses))


async def opened(pilot: Pilot[None], words: list[str], problem: str, **options: Any) -> TranscriptsScreen:
    pilot.app.push_screen(TranscriptsScreen(bench_of(pilot).session, words, "aime24", problem, **options))
    return await transcripts(pilot)


def columns(screen: TranscriptsScreen) -> tuple[Transcript, Transcript]:
    first, second = screen.query(Transcript)
    return first, second


@pytest.mark.parametrize("size", SIZES)
def test_they_stand_side_by_side_and_the_place_where_they_part_is_marked(tmp_path: Path, size: tuple[int, int]) -> None:
    stored(tmp_path, A, ["Let me see. The sum is seven. Answer: 7"])
    stored(
        tmp_path,
        B,
        ["Let me see. The sum is eight. Answer: 8"],
        correct=False,
        outcome="wrong",
        extracted="8",
        truncated=True,
    )

    async def story(pilot: Pilot[None]) -> None:
        screen = await opened(pilot, [A, B], "p00")
        lines = "\n".join(shown(pilot))
        assert "answer 7 · they part at word 7 (character 24)" in lines
        assert "What is p00?" in lines
        assert "A  grpo aaaa@100" in lines
        assert "right: answer 7" in lines
        assert "wrong: answer 8, truncated" in lines
        assert "10 tokens; 1 of 1 right" in lines
        ours, theirs = columns(screen)
        assert ours.laid.text == "Let me see. The sum is ▶seven. Answer: 7"
        assert theirs.laid.text == "Let me see. The sum is ▶eight. Answer: 8"
        assert ours.region.y == theirs.region.y
        assert ours.region.x < theirs.region.x
        # Shared text is dim, the mark stands out, the rest is plain.
        styles = [segment.style for segment in ours.render_line(0) if "seven" in segment.text or "Let" in segment.text]
        assert [bool(style and style.dim) for style in styles] == [True, False]

    play(tmp_path, size, story)


def test_below_each_other_where_there_is_no_room(tmp_path: Path) -> None:
    stored(tmp_path, A, ["seven"])
    stored(tmp_path, B, ["eight"])

    async def story(pilot: Pilot[None]) -> None:
        ours, theirs = columns(await opened(pilot, [A, B], "p00"))
        await until(pilot, lambda: ours.region.x == theirs.region.x and ours.region.y < theirs.region.y)
        assert "▶seven" in text(pilot)
        assert "▶eight" in text(pilot)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: ours.region.x < theirs.region.x)

    play(tmp_path, (40, 12), story)


def test_the_same_text_is_said_to_be(tmp_path: Path) -> None:
    for name in (A, B):
        stored(tmp_path, name, ["seven"])

    async def story(pilot: Pilot[None]) -> None:
        await opened(pilot, [A, B], "p00")
        assert text(pilot).count("(the same text)") == 2
        assert "▶" not in text(pilot)

    play(tmp_path, (80, 24), story)


def test_keys_go_through_problems_responses_and_runs(tmp_path: Path) -> None:
    for name, counts in ((A, [0, 2, 4]), (B, [4, 2, 1]), (C, [1, 1, 1])):
        evaluate(make_run(tmp_path, name), rows_of(counted(counts), 4))

    async def story(pilot: Pilot[None]) -> None:
        screen = await opened(pilot, [A, B, C], "p00")
        # As the matrix has them: 0 -> 4, 4 -> 1 and 2 -> 1 of 4.
        assert screen.order == ["p00", "p02", "p01"]
        assert "p00 (1 of 3) · response 0 of 0 to 3 · A and B of 3 runs" in "\n".join(shown(pilot))
        for keys, problem in (("n", "p02"), ("n", "p01"), ("n", "p01"), ("p", "p02")):
            await pilot.press(keys)
            await until(pilot, lambda problem=problem: screen.pair and screen.pair.problem == problem)
        # The first that one has right and the other has not: A has 4, B 1.
        assert screen.sample == 1
        await pilot.press(">", ">", ">", ">")
        assert screen.sample == 3
        await pilot.press("<", "comma")
        assert screen.sample == 1
        for places in ((0, 2), (1, 2), (0, 1)):
            await pilot.press("s")
            await until(pilot, lambda places=places: screen.pair and screen.pair.places == places)

    play(tmp_path, (80, 24), story)


def test_a_problem_that_one_of_them_never_saw(tmp_path: Path) -> None:
    stored(tmp_path, A, ["seven"])
    stored(tmp_path, B, ["eight"], problem="p01")

    async def story(pilot: Pilot[None]) -> None:
        await opened(pilot, [A, B], "p00")
        assert "(no response to this problem)" in text(pilot)
        assert "seven" in text(pilot)
        await pilot.press("n", ">", "<", "g", "s")

    play(tmp_path, (80, 24), story)


def test_long_responses_scroll_together_and_open_where_they_part(tmp_path: Path) -> None:
    stored(tmp_path, A, [f"{LONG}seven. {LONG[:500]}"])
    stored(tmp_path, B, [f"{LONG}eight. {LONG[:9000]}"])
    assert len(LONG) > 90_000

    async def story(pilot: Pilot[None]) -> None:
        screen = await opened(pilot, [A, B], "p00")
        await until(pilot, lambda: "▶seven" in text(pilot) and "▶eight" in text(pilot))
        ours, theirs = columns(screen)
        await pilot.press("home")
        await until(pilot, lambda: ours.scroll_offset.y == theirs.scroll_offset.y == 0)
        assert "Step 0: carry" in text(pilot)
        begun = time.perf_counter()
        await pilot.press(*["down"] * 20, "pagedown")
        assert (time.perf_counter() - begun) / 21 < 0.2
        await until(pilot, lambda: ours.scroll_offset.y == theirs.scroll_offset.y == screen.top > 20)
        await pilot.press("end")
        await until(pilot, lambda: theirs.scroll_offset.y == theirs.last_top == screen.top)
        assert ours.scroll_offset.y == ours.last_top < theirs.last_top
        # By the wheel over one of them, too.
        ours.scroll_to(y=100, animate=False, force=True)
        await until(pilot, lambda: theirs.scroll_offset.y == 100)
        await pilot.press("g")
        await until(pilot, lambda: "▶seven" in text(pilot))
        await pilot.resize_terminal(160, 50)
        await until(pilot, lambda: ours.columns > 60 and len(ours.laid.lines) < 1500)

    play(tmp_path, (80, 24), story)


def test_two_movements_at_once_come_to_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, A, [f"{LONG}seven."])
    stored(tmp_path, B, [f"{LONG}eight."])
    moves: list[int] = []
    move = TranscriptPair._move

    def noted(pair: TranscriptPair, top: int) -> None:
        moves.append(top)
        if len(moves) < 100:
            move(pair, top)

    async def story(pilot: Pilot[None]) -> None:
        screen = await opened(pilot, [A, B], "p00")
        await until(pilot, lambda: "▶seven" in text(pilot))
        ours, theirs = columns(screen)
        await pilot.press("home")
        monkeypatch.setattr(TranscriptPair, "_move", noted)
        # Two turns of a wheel before the first one is dealt with.
        ours.scroll_to(y=2, animate=False, force=True, immediate=True)
        theirs.scroll_to(y=7, animate=False, force=True, immediate=True)
        await pilot.pause(0.3)
        assert moves == [2, 7]
        assert ours.scroll_offset.y == theirs.scroll_offset.y == screen.top == 7

    play(tmp_path, (80, 24), story)


NASTY = {
    "markup": "[/boxed][red]x[/red] [a for a in b] [link=file:///etc]y[/link]",
    "escapes": "\x1b[31mred\x1b]0;title\x07\x1b[2J\x9b5m",
    "overrides": "abc\u202edef\u2066ghi",
    "tabs": "a\tb\tc\r\n\td",
    "emoji": "👨‍👩‍👧 ❤️ 👩🏽 ok 🇫🇷 漢字" * 20,
    "right to left": "שלום עולם مرحبا " * 20,
    "combining": "e\u0301" * 300,
    "no spaces": "x" * 5000,
    "nothing": "",
    "nulls": "\x00\x01\x7f" * 40,
}


def test_whatever_a_model_writes_is_shown_as_it_is(tmp_path: Path) -> None:
    """One program for all of them: to start it takes longer than to look."""
    problems = {f"p{number:02}": words for number, words in enumerate(NASTY.values())}
    for run, end in ((A, lambda words: words), (B, lambda words: f"{words[: len(words) // 2]}other")):
        rows = [
            row(name, 0, True, response=end(words), prompt=words, answer=words, extracted=words)
            for name, words in problems.items()
        ]
        evaluate(make_run(tmp_path, run), rows, k=1)

    async def story(pilot: Pilot[None]) -> None:
        for size in ((80, 24), (40, 12)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: pilot.app.screen.size.width == size[0])
            for kind, (name, words) in zip(NASTY, problems.items(), strict=True):
                screen = await opened(pilot, [A, B], name)
                await pilot.press("t", "end", "home", "t")
                everything = "".join(shown(pilot))
                assert not {*map(chr, range(32)), "\x7f", "\x9b", "\u202e", "\u2066"} & {*everything}, kind
                ours, _ = columns(screen)
                if kind == "markup":
                    assert ours.laid.text.replace("▶", "") == words
                if kind == "escapes":
                    assert ours.laid.text.replace("▶", "").startswith("\\x1b[31mred\\x1b]0;title\\x07")
                await pilot.press("escape")

    play(tmp_path, (80, 24), story)


def test_the_files_disappear(tmp_path: Path) -> None:
    import shutil

    for name in (A, B):
        evaluate(make_run(tmp_path, name), rows_of(counted([1, 2]), 4))

    async def story(pilot: Pilot[None]) -> None:
        screen = await opened(pilot, [A, B], "p00")
        shutil.rmtree(tmp_path / B)
        await pilot.press("n")
        await until(pilot, lambda: screen.pair and screen.pair.problem == "p01")
        assert "no response" in text(pilot)
        await pilot.press("escape")
        pilot.app.push_screen(TranscriptsScreen(bench_of(pilot).session, [A, B], "aime24", "p00"))
        await until(pilot, lambda: f"no run `{B}`" in text(pilot))

    play(tmp_path, (80, 24), story)


@pytest.mark.parametrize("width", [1, 7, 39, 200])
def test_plain_text_is_wrapped_as_the_standard_library_does(width: int) -> None:
    words = " ".join(f"{'w' * (n % 9 + 1)}{n}" for n in range(400))
    lines = [words[begin:end] for begin, end in wrap(words, width)]
    wrapper = textwrap.TextWrapper(width, break_on_hyphens=False)
    if width > 13:
        assert lines == wrapper.wrap(words)
    assert max(map(len, lines)) <= width
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")


def test_wrapping_loses_nothing_and_keeps_its_width() -> None:
    rng = random.Random(0)
    pieces = ["a", "bc", " ", "  ", "漢", "👩", "❤️", "👨‍👩‍👧", "e\u0301", "\n", "é", "-", "ש"]
    for _ in range(3000):
        words, width = "".join(rng.choices(pieces, k=rng.randint(0, 40))), rng.randint(2, 12)
        spans = wrap(words, width)
        assert (spans[0][0], spans[-1][1]) == (0, len(words))
        for (_, end), (begin, _) in itertools.pairwise(spans):
            assert words[end:begin] in ("", " ", "\n")
        for begin, end in spans:
            assert cell_len(words[begin:end]) <= width, (words, width)


def test_a_response_of_100_000_characters_is_laid_out_at_once() -> None:
    begun = time.process_time()
    laid = lay_out(LONG[:50_000] + "漢字 " * 10_000, 60_000, 39)
    assert time.process_time() - begun < 0.5
    assert laid.text[laid.mark] == "▶"
    begin, end = laid.lines[laid.line_of_mark]
    assert begin <= laid.mark < end
