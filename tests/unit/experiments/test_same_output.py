"""The comparison of what two versions print: what it repeats, what it makes equal, what it counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.bench.commands import expand, facts_of
from experiments.bench.same_output import Side, compare, name_of


def written(out: str = "", err: str = "", code: int = 0) -> dict[str, Any]:
    return {"out": out, "err": err, "code": code}


def test_commands_are_repeated_over_what_the_store_holds(tmp_path: Path) -> None:
    for run in ("20260101-000000-a-aaaa", "20260101-000001-b-bbbb"):
        folder = tmp_path / "store" / run / "evals" / "sums" / "step_3"
        folder.mkdir(parents=True)
        (tmp_path / "store" / run / "spec.json").write_text("{}")
        (folder / "samples.jsonl").write_text(
            '{"schema": 1}\n{"problem": "1 + 1"}\n{"problem": "1 + 1"}\n{"problem": "2"}\n'
        )
    facts = facts_of(tmp_path / "store", tmp_path, {"components": [{"name": "grpo"}], "recipes": []})
    assert expand([("runs diff {run} {next}", "runs", "j")], facts) == [
        (["runs", "diff", "20260101-000000-a-aaaa", "20260101-000001-b-bbbb"], "j"),
        (["runs", "diff", "20260101-000001-b-bbbb", "20260101-000000-a-aaaa"], "j"),
    ]
    assert expand([("compare {measured} --problem {problem}", "problems", "p")], facts) == [
        (["compare", "20260101-000000-a-aaaa", "20260101-000001-b-bbbb", "--problem", "1 + 1"], "p"),
        (["compare", "20260101-000000-a-aaaa", "20260101-000001-b-bbbb", "--problem", "2"], "p"),
    ]
    assert expand([("plugins show {component}", "components", "nj")], facts) == [
        (["plugins", "show", "grpo"], "n"),
        (["plugins", "show", "grpo"], "j"),
    ]


def test_names_steer_no_terminal() -> None:
    assert name_of(["note", "a b"], "w") == "note 'a b', 160 columns"
    assert "\x1b" not in name_of(["note", "\x1b[31m"], "j")


def test_only_what_programs_read_counts(capsys: pytest.CaptureFixture[str]) -> None:
    before = {
        "a, --json": written("{}"),
        "b, --csv": written(err="old\n"),
        "c, pipe": written("old"),
        "d, pipe": written(),
    }
    after = {
        "a, --json": written("[]"),
        "b, --csv": written(err="new\n"),
        "c, pipe": written("new"),
        "d, pipe": written(),
    }
    assert compare(before, after, lines=40) == 1
    said = capsys.readouterr().out
    assert "DIFFERS  a, --json" in said
    assert "    -{}\n    +[]" in said
    assert "same     d, pipe" in said
    assert said.endswith("4 outputs; 1 that programs read and 2 others differ\n")


def test_a_command_that_only_one_version_has_differs() -> None:
    assert compare({}, {"new, --markdown": written()}, lines=40) == 1


def test_a_terminal_of_each_width_and_what_the_minute_changes(tmp_path: Path) -> None:
    """A stand-in for dapoctl, run as the real one is: it prints the width that it is given."""
    (tmp_path / "work").mkdir()
    (tmp_path / "bin").mkdir()
    dapoctl, python = tmp_path / "bin" / "dapoctl", tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program = 'import shutil, sys; print(shutil.get_terminal_size().columns, sys.stdout.isatty(), "waits for 3 min")'
    dapoctl.write_text(f"#!{sys.executable}\n{program}\nsys.exit(len(sys.argv))\n")
    for path in (dapoctl, python):
        path.chmod(0o755)
    side = Side(dapoctl, tmp_path)
    assert side.output(["queue"], "n") == written("80 True waits for AGE\n", code=2)
    assert side.output(["queue"], "w") == written("160 True waits for AGE\n", code=2)
    assert side.output(["queue"], "j")["out"].endswith("False waits for AGE\n")
    assert side.output(["queue"], "j")["code"] == 3
