"""Text from elsewhere on its way to a terminal or into a table: it is data there, and steers nothing."""

from __future__ import annotations

import csv
import io
import json
import sys
import unicodedata

import pytest

from dapoctl.cli.output import emit_json
from dapoctl.views.markdown import csv_text
from dapoctl.views.text import json_text, one_line, plain

HOSTILE = "a\x1b]52;c;aGk=\x07b\x9bc\x7fd\u202ee\u2066f\u061cg\u200bh\ufeffi\U000e0041j\ue000k\ud800l\r\nm\u2028n"


def test_what_has_no_shape_is_spelled_out() -> None:
    """Of all of Unicode, by its own database: controls, formats, separators of lines, halves, private characters."""
    hidden = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
    letters = [chr(code) for code in range(sys.maxunicode + 1) if chr(code) not in "\t\n"]
    shown = plain("\n".join(letters)).split("\n")
    wrong = [
        unicodedata.category(letter)
        for letter, text in zip(letters, shown, strict=True)
        if (text != letter) != (unicodedata.category(letter) in hidden)
    ]
    # This Python's database may be older than the list, and not know a character yet.
    assert set(wrong) <= {"Cn"}
    assert len(wrong) < 20
    assert plain("\u200b\U000e0041") == r"\u200b\U000e0041"


def test_json_is_read_as_the_same_and_shows_nothing_raw(capsys: pytest.CaptureFixture[str]) -> None:
    values = {HOSTILE: [HOSTILE, "é 漢字 🙂", 1.5, float("nan")]}
    emit_json(values)
    out = capsys.readouterr().out
    assert json.loads(out) == {HOSTILE: [HOSTILE, "é 漢字 🙂", 1.5, "NaN"]}
    assert plain(out) == out
    assert "é 漢字 🙂" in out
    assert "\n" not in json_text(values, indent=None)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =cmd|' /C calc'!A0", "\t=1", "\r=1"])
def test_a_cell_is_no_formula(text: str) -> None:
    [[cell]] = list(csv.reader(io.StringIO(csv_text(["a"], [[text]]))))[1:]
    assert cell == f"'{text.strip()}"


def test_a_table_has_text_on_one_line_and_numbers_as_they_are() -> None:
    text = csv_text(["a", "b", "c"], [[HOSTILE, -1.5, None], ["x,y", 3, float("nan")]])
    assert plain(text) == text
    assert list(csv.reader(io.StringIO(text)))[1:] == [[one_line(HOSTILE), "-1.5", ""], ["x,y", "3", ""]]
