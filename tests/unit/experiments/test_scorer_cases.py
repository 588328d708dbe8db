"""The bench of scorers against labelled cases: what it counts, and what it says of a bad file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from experiments.bench import scorer_cases

CASES = [
    {"source": "a", "gold": "5", "response": "Answer: 5", "expected": True},
    {"source": "a", "gold": "5", "response": "it is 5", "expected": True},
    {"source": "b", "gold": "5", "response": "Answer: x = 5", "expected": False},
    {"source": "b", "gold": "5", "response": "Answer: 6", "expected": False},
]


def test_a_line_for_each_source_and_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(map(json.dumps, CASES)))
    words = [
        "x",
        str(path),
        "--scorer",
        "math",
        "--scorer",
        "strict",
        "--list",
        "math",
        "--json",
        str(tmp_path / "out.json"),
    ]
    monkeypatch.setattr(sys, "argv", words)
    scorer_cases.main()
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a", "2", "50.0%", "0/1", "50.0%", "0/1"] in said
    assert ["b", "2", "50.0%", "1/0", "100.0%", "0/0"] in said
    assert ["all", "4", "50.0%", "1/1", "75.0%", "0/1"] in said
    assert [line[:2] for line in said[-2:]] == [["1", "FN"], ["2", "FP"]]
    assert json.loads((tmp_path / "out.json").read_text())["all"] == {"n": 4, "math": [2, 1, 1], "strict": [3, 0, 1]}


@pytest.mark.parametrize(
    ("content", "words"), [("{}", "case 1: no `source`"), ("nothing", "cannot be read"), (None, "No such file")]
)
def test_bad_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    path = tmp_path / "cases.jsonl"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(sys, "argv", ["x", str(path)])
    with pytest.raises(SystemExit):
        scorer_cases.main()
    assert words in capsys.readouterr().err
