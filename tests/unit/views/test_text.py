"""Long text in lines of a terminal: nothing is lost, nothing is wider than the screen, and it is quick."""

from __future__ import annotations

import math
import random
import time
import unicodedata

import pytest

from dapoctl.tui.widgets.wrapping import lines

LETTERS = ["a", "word", " ", "  ", "\n", "é", "漢字", "🙂", "שלום", "[/boxed]", "x" * 90, "e\u0301", "\u200b"]


def width_of(text: str) -> int:
    """Columns at most, by the Unicode character database."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


@pytest.mark.parametrize("seed", range(40))
def test_lines_fit_and_nothing_is_lost(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choices(LETTERS, k=rng.randrange(300)))
    width = rng.randrange(2, 60)
    found = lines(text, width)
    assert "".join(found).replace(" ", "") == text.replace("\n", "").replace(" ", "")
    for line in found:
        # The zero-width space counts as one column here, and may be none.
        assert width_of(line.removesuffix(" ").replace("\u200b", "")) <= width, line
    paragraphs = text.split("\n")
    assert len(found) >= len(paragraphs)


def test_words_stay_whole_where_they_fit() -> None:
    assert lines("one two three", 7) == ["one two", "three"]
    assert lines("one two three", 8) == ["one two", "three"]
    assert lines("abcdefghij kl", 4) == ["abcd", "efgh", "ij", "kl"]
    assert lines("漢字漢字", 5) == ["漢字", "漢字"]
    assert lines("", 10) == [""]
    assert lines("a\n\nb", 10) == ["a", "", "b"]


@pytest.mark.parametrize("text", ["words and more " * 6700, "word 🙂 " * 14_300, "x" * 100_000, "漢" * 100_000])
def test_a_hundred_thousand_characters_take_less_than_a_frame(text: str) -> None:
    best = math.inf
    for _ in range(5):
        begun = time.perf_counter()
        lines(text, 76)
        best = min(best, time.perf_counter() - begun)
    assert best < 0.05
