"""`dapoctl data` and `dapoctl probe`: files that are written, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.cli import Cli

ROWS = [
    {
        "id": "a",
        "question": "Tom has 7 apples and buys 5. How many has he?",
        "answer": "<<7+5=12>>\n#### 12",
        "grade": 1,
    },
    {"id": "b", "question": "Why?", "answer": "4"},
    {"id": "c", "question": "Ann shares 36 pens among 9 friends. How many each?", "answer": "<<36/9=4>>\n#### 4"},
]


def write(folder: Path) -> None:
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def test_twins_and_their_originals_are_files_to_evaluate_on(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path)
    done = cli(
        "data", "twins", "--data", "d.jsonl", "--problem-field", "question", "-o", "t.jsonl", "--originals", "o.jsonl"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2 of 3 problems have a twin, in t.jsonl",
        "  without, 1: no equations that give its answer",
    ]
    twins, originals = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in ("t.jsonl", "o.jsonl")
    )
    assert [row["id"] for row in twins] == [row["id"] for row in originals] == ["a", "c"]
    new = twins[0]["numbers"]
    assert twins[0]["problem"] == f"Tom has {new['7']} apples and buys {new['5']}. How many has he?"
    assert int(twins[0]["answer"]) == int(new["7"]) + int(new["5"])
    assert originals[0] == {"id": "a", "problem": ROWS[0]["question"], "answer": "12"}
    found = json.loads(cli("data", "twins", "--data", "t.jsonl", "-o", "again.jsonl", "--json").stdout or "{}")
    assert found == {}


def test_problems_that_a_model_solves_sometimes(cli: Cli, tmp_path: Path) -> None:
    asked = ("eval", "tiny", "--task", "arithmetic", "-k", "4", "--limit", "24", "--max-tokens", "40", "--json")
    made = json.loads(cli(*asked).stdout)
    lines = (tmp_path / made["directory"] / "samples.jsonl").read_text().splitlines()[1:]
    right: dict[str, int] = {}
    for row in map(json.loads, lines):
        right[row["problem"]] = right.get(row["problem"], 0) + row["correct"]
    command = ("data", "select", made["run"], "--task", "arithmetic", "-o", "s.jsonl")
    done = cli(*command, "--low", "0.2", "--high", "0.8")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert {row["id"]: 4 * row["solved"] for row in rows} == {name: n for name, n in right.items() if 1 <= n <= 3}
    assert 0 < len(rows) < 24
    assert done.stdout.startswith(f"{len(rows)} of 24 problems, those with 20% to 80% of 4 responses right by ")
    for more, words in (
        (["--low", "0.9", "--high", "0.1"], "--low 0.9 is more than --high 0.1"),
        (["--low", "0.3", "--high", "0.4"], "none of the 24 problems has 30% to 40% of 4 responses right"),
    ):
        refused = cli(*command, *more)
        assert (refused.returncode, words in refused.stderr) == (2, True), refused.stderr


def test_problems_that_have_changed_since_are_not_selected(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path)
    asked = (
        "eval",
        "tiny",
        "--data",
        "d.jsonl",
        "--problem-field",
        "question",
        "-k",
        "1",
        "--max-tokens",
        "2",
        "--json",
    )
    made = json.loads(cli(*asked).stdout)
    command = ("data", "select", made["run"], "--task", "d", "--low", "0", "--high", "1", "-o", "s.jsonl")
    assert cli(*command).returncode == 0
    assert [json.loads(line)["problem"] for line in (tmp_path / "s.jsonl").read_text().splitlines()] == [
        row["question"] for row in ROWS
    ]
    refused = cli(*command[:-1], "d.jsonl")
    assert "--output d.jsonl: it is the file of --data" in refused.stderr
    (tmp_path / "d.jsonl").write_text((tmp_path / "d.jsonl").read_text().replace("36", "45"))
    refused = cli(*command)
    assert refused.returncode == 2
    assert "they have changed since" in refused.stderr


def test_mistakes_are_named(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path)
    file = ("--data", "d.jsonl", "--problem-field", "question")
    for command, words in (
        (["data", "twins", "-o", "t"], "which set? --task NAME"),
        (
            ["data", "twins", *file, "-o", "t", "--formula-field", "grades"],
            "no problem has it; the fields are: grade, problem",
        ),
        (
            ["data", "twins", *file, "-o", "t", "--formula-field", "problem"],
            "0 of 3 problems have a twin; 3: no equations",
        ),
        (["data", "twins", *file, "-o", "d.jsonl"], "--output d.jsonl: it is the file of --data"),
        (["data", "twins", *file, "-o", "t", "--originals", "./t"], "--originals t: it is the file of --output"),
        (["probe", "tiny", "--data", "e.jsonl"], "no such file: e.jsonl"),
        (["probe", "tiny", *file], "none of the 3 questions has 8 words after the first 60%: give a smaller --share"),
        (["probe", "no-such", *file], "no-such"),
        (["probe", "tiny", *file, "--share", "1"], "less than or equal to 0.9"),
    ):
        refused = cli(*command)
        assert refused.returncode == 2, (command, refused)
        assert words in " ".join(refused.stderr.split()), (command, refused.stderr)
        assert "Traceback" not in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.jsonl"]
