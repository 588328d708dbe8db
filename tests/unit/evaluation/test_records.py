"""Evaluations in whatever state they lie in the store: found, read as far as they go, and what is wrong named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dapoctl.errors import UserError
from dapoctl.evaluation.evaluate import check_rule
from dapoctl.evaluation.stored import load_evaluation, open_evaluation, responses, sets_of, split_step, steps_of
from dapoctl.runs.files import write_json, write_lines
from dapoctl.runs.summary import read_run
from tests.support.evaluations import counted, evaluate, make_run, row, rows_of

NAME = "20260101-000000-grpo-aaaa"
ROWS = rows_of(counted([0, 1, 2, 4]), 4)


def opened(root: Path, word: str = "aaaa") -> Any:
    return open_evaluation(root, word, "aime24")


def test_an_evaluation_is_what_was_written(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, NAME), ROWS)
    found = opened(tmp_path)
    assert (found.name, found.set, found.step, found.k, found.model) == (f"{NAME}@100", "aime24", 100, 4, "tiny")
    assert [found.scores[name].right for name in ("p00", "p01", "p02", "p03")] == [0, 1, 2, 4]
    assert (found.complete, found.expected, found.trouble) == (True, 4, ())
    assert (found.protocol["temperature"], found.data["problems"]) == (1.0, 4)
    assert found.prompts["p01"] == "What is p01?"
    assert found.answers["p01"] == "7"
    assert "response" not in found.rows[0]
    assert responses(found, "p01")[2]["response"] == "Let me see. Answer: 8"
    json.dumps(found.as_dict())


def test_the_newest_complete_evaluation_is_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path, NAME)
    for step in (0, 20, 100):
        evaluate(run, ROWS, step=step)
    evaluate(run, ROWS, step=120, complete=False)
    # It says that it is complete, and half of it is not there.
    evaluate(run, ROWS[:9], step=140, data={"problems": 4})
    for name in ("step_x", "step_-1", "other", ".step_200"):
        (run / "evals" / "aime24" / name).mkdir()
    assert steps_of(run, "aime24") == [0, 20, 100, 120, 140]
    assert opened(tmp_path).step == 100
    assert opened(tmp_path, "aaaa@120").step == 120
    assert opened(tmp_path, "last@0").step == 0
    for step in (0, 20, 100):
        shutil.rmtree(run / "evals" / "aime24" / f"step_{step}")
    assert opened(tmp_path).step == 140


def test_words_that_name_no_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path, NAME)
    make_run(tmp_path, "20260102-000000-none-bbbb")
    evaluate(run, ROWS)
    evaluate(run, ROWS, set_="math500")
    assert sets_of(run) == ["aime24", "math500"]
    for word, set_, message in (
        ("aaaa@7", "aime24", f"run `{NAME}` has no evaluation on `aime24` at step 7; it has 100"),
        ("aaaa", "aime25", "it has `aime24`, `math500`. Did you mean `aime24`?"),
        ("bbbb", "aime24", "it has none. `dapoctl eval 20260102-000000-none-bbbb --task aime24` makes one"),
        ("aaaa@x", "aime24", "`aaaa@x`: after the `@` stands a step, such as `aaaa@100`"),
        ("@", "aime24", "such as `RUN@100`"),
        ("nope", "aime24", "no run `nope`"),
        ("aaaa", "../aime24", "has no evaluation on `../aime24`"),
    ):
        with pytest.raises(UserError) as failure:
            open_evaluation(tmp_path, word, set_)
        assert message in str(failure.value)


def test_a_path_with_an_at_sign_is_a_path(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs@3", NAME)
    evaluate(run, ROWS)
    assert split_step(str(run)) == (str(run), None)
    assert split_step(f"{run}@100") == (str(run), 100)
    assert open_evaluation(tmp_path, str(run), "aime24").step == 100


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, NAME)
    evaluate(run, ROWS)
    (run / "spec.json").write_text("{")
    with pytest.raises(UserError, match=r"spec\.json is damaged"):
        opened(tmp_path)


HEADER = json.dumps({"schema": 1, "kind": "eval", "set": "aime24", "step": 100})
SAMPLES = {
    "missing": (None, "no samples.jsonl"),
    "empty": (b"", "samples.jsonl is empty"),
    "header only": (f"{HEADER}\n".encode(), "samples.jsonl holds no response"),
    "torn header": (HEADER[:20].encode(), "samples.jsonl has no header"),
    "no header": ((json.dumps(ROWS[0]) + "\n").encode(), "samples.jsonl has no header"),
    "not text": (b"\xff\xfe\x00" * 100, "samples.jsonl has no header"),
    "other kind": (HEADER.replace("eval", "samples").encode() + b"\n", "is of kind `samples`, not `eval`"),
    "other set": (HEADER.replace("aime24", "x").encode() + b"\n", "is of the set `x`"),
    "newer": (
        HEADER.replace('"schema": 1', '"schema": 9').encode() + b"\n",
        "newer dapoctl (schema 9, this one reads 1)",
    ),
    "deep": (f"{HEADER}\n{'[' * 100_000}\n".encode(), "1 damaged row left out"),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_samples_that_cannot_be_read(case: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, NAME)
    folder = evaluate(run, ROWS)
    content, words = SAMPLES[case]
    (folder / "samples.jsonl").unlink()
    if content is not None:
        (folder / "samples.jsonl").write_bytes(content)
    found = opened(tmp_path)
    assert (found.rows, found.scores, found.complete) == ([], {}, False)
    assert any(words in text for text in found.trouble), found.trouble


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    folder = evaluate(make_run(tmp_path, NAME), ROWS)
    for name in ("samples.jsonl", "summary.json"):
        (folder / name).unlink()
        (folder / name).mkdir()
    assert len(opened(tmp_path).trouble) == 2


DAMAGED = [
    b"garbage",
    b"[1, 2]",
    b"null",
    b'{"problem": "p00"}',
    b'{"problem": 3, "sample": 0, "correct": true}',
    b'{"problem": "p00", "sample": "0", "correct": true}',
    b'{"problem": "p00", "sample": -1, "correct": true}',
    b'{"problem": "p00", "sample": true, "correct": true}',
    b'{"problem": "p00", "sample": 1.0, "correct": true}',
    b'{"problem": "p00", "sample": 0, "correct": "yes"}',
    b'{"problem": "p\xff", "sample": 0, "correct": true}',
    b'{"problem": "p00", "sample": ' + b"9" * 5000 + b', "correct": true}',
]


def test_damaged_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    folder = evaluate(make_run(tmp_path, NAME), ROWS)
    whole = (folder / "samples.jsonl").read_bytes().splitlines()
    (folder / "samples.jsonl").write_bytes(b"\n".join([whole[0], *DAMAGED, *whole[1:], b'{"problem": "torn']))
    found = opened(tmp_path)
    assert len(found.rows) == len(ROWS)
    assert found.trouble == (f"samples.jsonl: {len(DAMAGED)} damaged rows left out",)


def test_a_row_with_little_in_it_is_a_row(tmp_path: Path) -> None:
    folder = evaluate(make_run(tmp_path, NAME), ROWS)
    bare = [
        {"problem": "a", "sample": 0, "correct": True},
        {"problem": "a", "sample": 1, "correct": False, "tokens": "x"},
    ]
    write_lines(folder / "samples.jsonl", {"kind": "eval"}, bare)
    found = opened(tmp_path)
    assert [row["outcome"] for row in found.rows] == ["right", "wrong"]
    assert found.trouble == ()


SUMMARIES = {
    "missing": (None, "no summary.json", False),
    "empty": ("", "summary.json is damaged", False),
    "torn": ('{"complete": tr', "summary.json is damaged", False),
    "list": ("[]", "summary.json is not a summary", False),
    "newer": ('{"schema": 2}', "newer dapoctl", False),
    "old": ('{"step": 100, "metrics": {"eval/aime24/avg@4": 0.5}, "seed": 3}', "", True),
    "wrong types": ('{"schema": 1, "complete": true, "protocol": [], "data": 3, "metrics": 7}', "", True),
    "wrong types inside": (
        '{"protocol": {"k": "many"}, "data": {"problems": "all", "ids": 3}, "metrics": {"x/avg@y": 1}}', "", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SUMMARIES)
def test_summaries_of_all_kinds(case: str, tmp_path: Path) -> None:
    folder = evaluate(make_run(tmp_path, NAME), ROWS)
    text, words, complete = SUMMARIES[case]
    (folder / "summary.json").unlink()
    if text is not None:
        (folder / "summary.json").write_text(text)
    found = opened(tmp_path)
    assert found.trouble == () if not words else words in found.trouble[0]
    # Without a summary, k is what the rows have.
    assert (found.k, len(found.scores), found.complete) == (4, 4, complete)


def test_an_old_evaluation_knows_its_k_from_its_metric(tmp_path: Path) -> None:
    folder = evaluate(make_run(tmp_path, NAME), ROWS[:6])
    write_json(folder / "summary.json", {"step": 100, "metrics": {"eval/aime24/avg@4": 0.5}})
    found = opened(tmp_path)
    assert (found.k, [*found.scores]) == (4, ["p00"])


def test_unmeasured_problems_are_not_wrong(tmp_path: Path) -> None:
    run = make_run(tmp_path, NAME)
    # p03 lost a response, two further problems have none.
    evaluate(run, ROWS[:-1], complete=False, data={"problems": 6})
    found = opened(tmp_path)
    assert (sorted(found.scores), found.expected, found.complete) == (["p00", "p01", "p02"], 6, False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_without_permission_are_named(tmp_path: Path) -> None:
    folder = evaluate(make_run(tmp_path, NAME), ROWS)
    (folder / "samples.jsonl").chmod(0)
    assert "cannot be read" in opened(tmp_path).trouble[0]


def test_of_two_rows_for_one_response_the_first_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, NAME)
    evaluate(run, [row("a", 0, True, response="first"), row("a", 0, False, response="second")], k=1)
    found = load_evaluation(read_run(run), "aime24")
    assert responses(found, "a")[0]["response"] == "first"
    assert found.scores["a"].right == 1


def test_an_unfinished_evaluation_is_not_finished_by_another_rule(tmp_path: Path) -> None:
    rows = rows_of(counted([1, 0]), 2)
    check_rule(rows, "dapo", tmp_path)
    check_rule([each | {"marked": False} for each in rows], "math", tmp_path)
    with pytest.raises(UserError, match=r"earlier rule, now `math_lenient`.* --again, or keep both with --as NAME"):
        check_rule(rows, "math", tmp_path)
