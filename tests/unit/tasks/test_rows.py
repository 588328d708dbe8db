"""Files that people have and that are no JSON lines of text: each is named with what to do, and the command does it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dapoctl.errors import DataError, RunWarning
from dapoctl.tasks.math import Math

CHAT = [{"role": "user", "content": "1+1?"}]
VERL = {"data_source": "d", "prompt": CHAT, "reward_model": {"style": "rule", "ground_truth": "2"}}


def refused(path: Path, **fields: str) -> str:
    with pytest.raises(DataError) as caught:
        Math(data=str(path), test_fraction=0, **fields).load_problems("train")
    return str(caught.value)


@pytest.mark.process
@pytest.mark.parametrize(("ending", "between"), [(".csv", ","), pytest.param(".tsv", "\t", marks=pytest.mark.slow)])
def test_a_table_comes_with_a_command_that_converts_it(tmp_path: Path, ending: str, between: str) -> None:
    """The command runs as it is printed: that is the point of it."""
    path = tmp_path / f"my set{ending}"
    path.write_text(between.join(["problem", "answer"]) + "\n" + between.join(["1+1?", "2"]) + "\n")
    message = refused(path)
    assert f"{path} is a table" in message
    command = shlex.split(message.partition("JSON lines: ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=120)
    (problem,) = Math(data=str(tmp_path / "my set.jsonl"), test_fraction=0).load_problems("train")
    assert (problem.meta["problem"], problem.answer) == ("1+1?", "2")


def test_other_files_that_are_no_json_lines(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl.gz").write_bytes(b"\x1f\x8b")
    assert "is compressed; unpack it first: gunzip --keep" in refused(tmp_path / "d.jsonl.gz")
    path = tmp_path / "d.jsonl"
    path.write_text("problem,answer\n1+1?,2\n")
    assert 'every line must be an object, such as {"problem": "1+1?", "answer": "2"}' in refused(path)
    path.write_text(json.dumps([VERL], indent=1))
    assert f"jq -c '.[]' {path} > {tmp_path}/d-lines.jsonl" in refused(path)


def test_chats_and_tables_are_named_with_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "verl.jsonl"
    path.write_text(json.dumps(VERL))
    fields = "data_source, prompt (a chat of 1 message), reward_model (a table of style, ground_truth)"
    fix = "A chat cannot be asked: write the question into a field of its own, and set math.problem_field to that"
    assert f"no field `problem`; the fields are: {fields}. {fix}" in refused(path)
    message = refused(path, problem_field="prompt", answer_field="reward_model")
    assert "`prompt` is a chat of 1 message, and must be text: write the question into a field of its own" in message
    assert fields in message
    path.write_text(json.dumps(VERL | {"prompt": "1+1?"}))
    message = refused(path, problem_field="prompt", answer_field="reward_model")
    assert "`reward_model` is a table of style, ground_truth, and must be text: write the answer into" in message


def test_chats_in_parquet_too(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "verl.parquet"
    parquet.write_table(pa.Table.from_pylist([VERL]), path)
    assert "verl.parquet: row 1: `prompt` is a chat of 1 message" in refused(path, problem_field="prompt")


@pytest.mark.parametrize("field", ["problem", "answer"])
def test_half_a_surrogate_pair_is_no_text(tmp_path: Path, field: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"problem": "1+1?", "answer": "2", field: "2 \ud800"}))
    assert (
        f"d.jsonl:1: `{field}` has half of a surrogate pair, \\ud800, as its character 3: that is no text"
        in refused(path)
    )


def test_what_is_asked_twice_is_told_with_its_answers(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = [("a", "1+1?", "2"), ("b", "2+2?", "4"), ("a", " 1+1?", "3"), ("c", "2+2?", "4")]
    path.write_text("\n".join(json.dumps({"id": i, "problem": p, "answer": a}) for i, p, a in rows))
    task = Math(test_data=str(path))
    words = r"2 of 4 problems ask what an earlier one asks, some of them with another answer, such as `a` \(2\) and `a#2` \(3\)"
    with pytest.warns(RunWarning, match=words):
        assert len(task.load_problems("test")) == 4
