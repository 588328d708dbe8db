"""Training data that hold problems of an evaluation set, and questions that are in a set twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dapoctl.batch import Problem
from dapoctl.config.resolve import load
from dapoctl.errors import RunWarning
from dapoctl.evaluation.overlap import overlap
from dapoctl.evaluation.plan import Job, trained_on
from dapoctl.evaluation.problem_source import find_source
from dapoctl.evaluation.protocol import build_protocol
from dapoctl.evaluation.summary import summary_of
from dapoctl.evaluation.target import Target
from dapoctl.training.build import build_eval_sets

LONG = "A train leaves the station at noon and goes north at sixty miles an hour until it is stopped by snow"


def problem(name: str, text: str, known: bool = True) -> Problem:
    return Problem(name, f"Solve this.\n\n{text}", "7", {"problem": text} if known else {})


def test_equal_text_and_thirteen_words_in_a_row_are_found() -> None:
    training = [
        problem("t0", "What is  1 + 1?"),
        problem("t1", f"Long ago: {LONG}. When does it arrive?"),
        problem("t2", "What is 5 - 3?"),
    ]
    held_out = [
        problem("same", "what is 1 + 1 ?"),
        problem("other sign", "What is 5 + 3?"),
        problem("long", f"{LONG.upper()}! How far is it?"),
        problem("twelve", "B " + " ".join(LONG.split()[:12]) + " slowly"),
        problem("free", "Name a prime number."),
    ]
    found = overlap(training, held_out)
    assert (found.equal, found.similar, found.problems) == (("same",), ("long",), 5)
    words = found.words("aime24")
    assert words.startswith(
        "`aime24`: 2 of 5 problems are in the training data, 1 word for word (same) and 1 with 13 words"
    )


def test_without_overlap_there_is_nothing_to_say() -> None:
    assert overlap([problem("t", LONG)], [problem("e", "What is 2 + 2?")]).words("x") == ""
    # Where the question is not known apart from the prompt, the instruction that all share is no overlap.
    first, second = problem("t", f"{LONG} a", known=False), problem("e", f"{LONG} b", known=False)
    assert overlap([first], [second]).words("x") == ""
    assert overlap([first], [first]).equal == ("t",)


def test_loading_a_run_says_what_its_evaluation_sets_share_with_its_training_data(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"problem": "What is 1 + 1?", "answer": "2"}) + "\n")
    rows = [{"problem": text, "answer": "2"} for text in ("What is 1 + 1?", "What is 3 - 1?", "What is  3 - 1?")]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ["task=math", f"math.data={tmp_path / 'train.jsonl'}", "math.test_fraction=0"]
    settings += [f'eval.set=["{tmp_path / "held.jsonl"}"]', "eval.every=1"]
    resolved = load([], settings)
    learner = SimpleNamespace(
        pipeline=resolved.pipeline,
        policy=SimpleNamespace(encode=lambda _prompt: [1]),
        problems=resolved.pipeline.one("load_problems", split="train"),
    )
    with pytest.warns(RunWarning) as warned:
        build_eval_sets(resolved.config, learner)  # type: ignore[arg-type]
    first, second = (str(each.message) for each in warned)
    assert "1 of 3 problems ask what an earlier one asks" in first
    assert second.startswith("`held`: 1 of 3 problems are in the training data")


def test_evaluating_a_run_says_what_it_was_trained_on(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"problem": "What is 1 + 1?", "answer": "2"}) + "\n")
    (tmp_path / "held.jsonl").write_text(json.dumps({"problem": "what is 1+1", "answer": "2"}) + "\n")
    config = load([], ["task=math", f"math.data={tmp_path / 'train.jsonl'}", "math.test_fraction=0"]).config
    source = find_source("", str(tmp_path / "held.jsonl"), {}, {})
    problems = source.load()
    protocol = build_protocol("greedy", {})
    wanted = summary_of("held", 5, protocol, source.describe(problems), "tiny")
    job = Job(Target(config, "tiny", tmp_path, step=5), source, problems, protocol, wanted, tmp_path)
    assert trained_on(job).startswith("`held`: 1 of 1 problems are in the training data")
    assert trained_on(replace(job, target=replace(job.target, step=0))) == ""
    (tmp_path / "train.jsonl").write_text("nothing\n")
    assert "cannot be seen: " in trained_on(job)
    (tmp_path / "train.jsonl").unlink()
    assert trained_on(job) == ""
