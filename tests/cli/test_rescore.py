"""`dapoctl rescore`: stored responses under several scorers, without a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pytest

from dapoctl.cli.live import Ticker
from dapoctl.cli.rescore import rescore as command
from dapoctl.errors import DataError, UserError
from dapoctl.evaluation.rescoring import find_files, read_responses, rescore
from tests.support.cli import Done, dapoctl

# The design's table of the public scorer for the answer 540, as stored responses; the stored verdicts are those of `math`.
RESPONSES = [
    ("Answer: $\\boxed{540}$", "right"),
    ("Answer: x = 540", "right"),
    ("Answer: 540 square units", "right"),
    ("Answer: 5,40", "right"),
    ("**Answer:** 540", "right"),
    ("**Answer: 540**", "right"),
    ("Answer: 540.", "right"),
    ("Answer: \\(540\\)", "right"),
    ("Answer: 540 or 541=540", "wrong"),
    ("Answer: 540", "right"),
    ("Answer: 541", "wrong"),
    ("I do not know.\x1b[2J [red]", "unanswered"),
]
COUNTS = {
    "stored": {"right": 9, "wrong": 2, "unanswered": 1, "timeout": 0, "error": 0},
    "math": {"right": 9, "wrong": 2, "unanswered": 1, "timeout": 0, "error": 0},
    "dapo": {"right": 6, "wrong": 5, "unanswered": 1, "timeout": 0, "error": 0},
    "strict": {"right": 1, "wrong": 8, "unanswered": 3, "timeout": 0, "error": 0},
}


def write(path: Path, rows: Sequence[dict[str, Any]], header: dict[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in ([header] if header else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def stored(label: str = "toy") -> list[dict[str, Any]]:
    return [
        {
            "problem": f"{label}-{n}",
            "sample": 0,
            "answer": "540",
            "response": text,
            "outcome": outcome,
            "extracted": None,
        }
        for n, (text, outcome) in enumerate(RESPONSES)
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two evaluations of one set, and one of another."""
    root = tmp_path / "runs" / "20260101-000000-x-abcd"
    write(root / "spec.json", [{"schema": 1, "config": {"steps": 1}}])
    for label, step in (("toy", 0), ("toy", 10), ("aime24", 10)):
        header = {"schema": 1, "kind": "eval", "set": label, "step": step}
        write(root / "evals" / label / f"step_{step}" / "samples.jsonl", stored(label), header)
    return root


def call(*arguments: str, code: int = 0) -> Done:
    done = dapoctl("rescore", *arguments, cwd=Path.cwd())
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_counts_pairs_and_disagreements(tmp_path: Path) -> None:
    result = rescore(read_responses(write(tmp_path / "a.jsonl", stored())), ["math", "dapo", "strict"])
    assert result.counts() == COUNTS
    pairs = {(first, second): (one, other) for first, second, one, other in result.pairs()}
    # dapo is alone right, falsely, on `540 or 541=540`; math on the four forms that dapo refuses.
    assert pairs["math", "dapo"] == (4, 1)
    assert pairs["stored", "math"] == (0, 0)
    assert pairs["dapo", "strict"] == (5, 0)
    disagreements = result.disagreements()
    assert {found["problem"] for found in disagreements} == {f"toy-{n}" for n in range(9)}
    (false,) = [found for found in disagreements if found["problem"] == "toy-8"]
    assert false["verdicts"]["dapo"] == {"outcome": "right", "extracted": "540"}
    assert false["verdicts"]["math"]["outcome"] == "wrong"


def test_the_command_on_a_run(run: Path) -> None:
    root = ("--runs-dir", str(run.parent))
    found = json.loads(call(run.name, "--scorer", "dapo", "--scorer", "math", "--json", *root).stdout)
    assert [Path(item["file"]).parts[-3:-1] for item in found] == [
        ("aime24", "step_10"),
        ("toy", "step_0"),
        ("toy", "step_10"),
    ]
    assert all(item["counts"] == {name: COUNTS[name] for name in ("stored", "dapo", "math")} for item in found)
    done = call("last", "--task", "toy", "--step", "10", "--show", "2", *root)
    assert ["stored", "9", "2", "1", "0", "0", "75.0%"] in [line.split() for line in done.stdout.splitlines()]
    assert ["math_lenient", "9", "2", "1", "0", "0", "75.0%"] in [line.split() for line in done.stdout.splitlines()]
    assert "right by math alone 4, by dapo alone 1" in done.stdout
    assert "disagreements: 9" in done.stdout
    assert "... and 7 more" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.process
def test_it_needs_neither_torch_nor_numpy_nor_a_gpu(run: Path) -> None:
    code = f"""
import sys
sys.argv = {["dapoctl", "rescore", run.name, "--runs-dir", str(run.parent)]!r}
from dapoctl.cli import main
assert main() == 0
print({{"torch", "transformers", "vllm", "numpy", "datasets", "math_verify"}} & {{*sys.modules}}, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr.strip().endswith("set()")


def test_any_file_with_answers_and_responses(tmp_path: Path) -> None:
    rows = [{"answer": "7", "response": "Answer: 7"}, {"answer": "7", "response": "Answer: 8", "extra": 1}]
    result = rescore(read_responses(write(tmp_path / "b.jsonl", rows)), ["math"])
    assert {name: found["right"] for name, found in result.counts().items()} == {"math": 1}


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    good = json.dumps({"answer": "7", "response": "Answer: 7"})
    path.write_text(f'{{"schema": 1}}\n{good}\nnot json\n{{"answer": 7, "response": "x"}}\n[1]\n\n{good[:20]}')
    found = read_responses(path)
    assert (len(found.rows), found.damaged) == (1, [3, 4, 5])
    assert "3 lines without a response and an answer are left out: line 3, 4, 5" in call(str(path)).stderr


@pytest.mark.parametrize(
    "content", ["", "\n\n", "{}\n", '{"schema": 1, "kind": "eval"}\n', "\x00\x01\xff\n", "[" * 99999]
)
def test_files_without_responses_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=r"d\.jsonl` holds no responses"):
        read_responses(path)


def test_what_is_not_there_is_named(run: Path, tmp_path: Path) -> None:
    root = run.parent
    for arguments, words in (
        (("nothing", root), "no run `nothing`"),
        ((run.name, root, "tyo"), r"no evaluation of `tyo`\. Did you mean `toy`\? It has: aime24, toy"),
        ((run.name, root, "toy", 5), "--step 5: .* of the steps 0, 10"),
        ((str(run / "spec.json"), root, "toy"), "a file is taken as it is"),
    ):
        with pytest.raises(UserError, match=words):
            find_files(*arguments)  # type: ignore[arg-type]
    empty = tmp_path / "runs" / "20260102-000000-y-abcd"
    write(empty / "spec.json", [{"schema": 1, "config": {"steps": 1}}])
    with pytest.raises(UserError, match="has no evaluations; `dapoctl eval"):
        find_files(empty.name, root)
    assert "Did you mean `math`" in call(run.name, "--scorer", "maths", "--runs-dir", str(root), code=2).stderr


def test_the_ticker_names_the_file_or_the_evaluation(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []

    class Noted(Ticker):
        def __init__(self, stream: TextIO, label: str) -> None:
            named.append(label)
            super().__init__(stream, label)

    monkeypatch.setattr("dapoctl.cli.live.Ticker", Noted)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.jsonl", stored())
    for source in ("mine.jsonl", str(tmp_path / "mine.jsonl"), run.name):
        command(source, ["strict"], "", None, 0, tmp_path / "runs", json=False)
    assert named[:2] == ["mine.jsonl"] * 2
    assert all(len(name.split("/")) == 2 and all(name.split("/")) for name in named[2:])
    assert named[2:]
