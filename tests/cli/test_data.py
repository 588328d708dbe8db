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
