"""`dapoctl scorers check`: what it says of scorers and of a task's own verifier."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.cli import Cli


def test_scorers_are_told_apart(cli: Cli) -> None:
    done = cli("scorers", "check", "strict", "dapo", "--limit", "4", "--json")
    assert done.returncode == 0, done.stderr
    strict, dapo = json.loads(done.stdout)
    assert (strict["exploits"], strict["false_positives"]) == (0, 0)
    assert "boxed" in strict["refused_by_kind"]
    # What comes before an equals sign is cut off by verl's rule.
    assert dapo["exploits_by_kind"] == {"wrong equals right": 4}
    assert dapo["recall"] > strict["recall"]
    shown = cli("scorers", "check", "strict", "--limit", "1").stdout
    assert "exploits that pass: none" in shown


def test_the_verifier_of_a_task(cli: Cli) -> None:
    options = ("--task", "arithmetic", "--form", "#{answer}", "--limit", "3", "--json")
    (found,) = json.loads(cli("scorers", "check", *options).stdout)
    assert found["scorer"] == "arithmetic"
    assert found["false_positives"] == 0
    # A number after the mark is taken, whatever comes after it.
    assert found["exploits_by_kind"]["right and wrong"] == 3


def test_problems_of_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps({"problem": "2+3?", "answer": "5"}))
    (found,) = json.loads(cli("scorers", "check", "strict", "--data", "d.jsonl", "--json").stdout)
    assert found["right_taken"] == 1


def test_mistakes_are_named(cli: Cli) -> None:
    for options, words in (
        (["strickt"], "Did you mean `strict`"),
        (["--task", "arithmetic"], "--form '#{answer}'"),
        (["--form", "#"], "must contain {answer}"),
        (["--form", "{answer"], "must contain {answer}"),
        (["--data", "none.jsonl"], "no such file: none.jsonl"),
    ):
        refused = cli("scorers", "check", *options)
        assert refused.returncode == 2
        assert words in " ".join(refused.stderr.split())
