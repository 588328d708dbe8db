"""Answers of a data set that cannot be read are told when it is loaded."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from dapoctl.cli.output import told_warnings
from dapoctl.errors import RunWarning
from dapoctl.tasks.golds import unreadable
from dapoctl.tasks.math import Math


@pytest.mark.parametrize(
    "gold",
    [
        "540", "-1{,}234", "\\frac{1}{2}", "\\frac12", "\\text{Evelyn}", "C", "x^2 + 1", "\\left( 3, \\frac{\\pi}{2} \\right)",
        "[0, 1)", "(0, 1]", "$\\$5$", "11:21", "\\{1, 2\\}", "none", "\\text{(A) all of the numbers from one to nine}",
        "so \\boxed{7} it is", "90^\\circ", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "infinitely many",
    ],
)  # fmt: skip
def test_answers_that_are_read(gold: str) -> None:
    assert unreadable(gold) == ""


@pytest.mark.parametrize(
    ("gold", "why"),
    [
        ("see solution", "not an answer"),
        ("See the figure below.", "not an answer"),
        ("N/A", "not an answer"),
        ("proof by induction", "not an answer"),
        ("12:00", "a time: compared as text"),
        ("\\frac{1}{2", "broken LaTeX"),
        ("\\left( 1, 2", "broken LaTeX"),
        ("$221,$8$", "broken LaTeX"),
        ("\\frac{1}", "broken LaTeX"),
        ("**", "nothing but layout"),
        ("The quotient does not change, but the remainder increases by a factor of 3.", "a sentence: compared as text"),
    ],
)
def test_answers_that_are_not(gold: str, why: str) -> None:
    assert unreadable(gold) == why


def write(path: Path, answers: list[str]) -> str:
    path.write_text("".join(json.dumps({"problem": f"p{n}", "answer": text}) + "\n" for n, text in enumerate(answers)))
    return str(path)


def test_loading_names_lines_ids_and_how_many(tmp_path: Path) -> None:
    data = write(tmp_path / "set.jsonl", ["1", "12:00", "2", "see solution", *["\\frac{1}{2"] * 5])
    with pytest.warns(RunWarning) as told:
        assert len(Math(data=data, test_fraction=0).load_problems("train")) == 9
    (message,) = [str(warning.message) for warning in told]
    assert message.startswith(f"data {data}: 7 of 9 answers cannot be read")
    assert (
        'set.jsonl:2 (id row-00001): "12:00", a time: compared as text; set.jsonl:4 (id row-00003): "see sol' in message
    )
    assert message.count("broken LaTeX") == 3
    assert "; .... Correct or remove these rows, or set math.answer_field to another field" in message


def test_rules_that_compare_text_have_nothing_to_tell(tmp_path: Path) -> None:
    data = write(tmp_path / "set.jsonl", ["12:00", "see solution"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Math(data=data, test_fraction=0, scorer="strict").load_problems("train")
        Math(data=write(tmp_path / "good.jsonl", ["1", "\\text{odd}"]), test_fraction=0).load_problems("train")


def test_the_command_line_tells_each_warning_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    task = Math(data=write(tmp_path / "set.jsonl", ["1", "see solution"]), test_fraction=1)
    with told_warnings():
        task.load_problems("test")
        task.load_problems("test")
        warnings.showwarning("a library's own", UserWarning, "x.py", 1)
    said = capsys.readouterr().err
    assert said.startswith("warning: ")
    assert said.count("1 of 2 answers cannot be read") == 1
    assert "library" not in said
