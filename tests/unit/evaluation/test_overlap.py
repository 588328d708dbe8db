"""Training data that hold problems of an evaluation set, and questions that are in a set twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dapoctl.batch import Problem
from dapoctl.config.resolve import Resolved, load
from dapoctl.errors import ConfigError, DataError, RunWarning, UserError
from dapoctl.evaluation.contamination.overlap import overlap
from dapoctl.evaluation.plan import Job, trained_on
from dapoctl.evaluation.problem_source import find_source
from dapoctl.evaluation.protocol import build_protocol
from dapoctl.evaluation.run_data import training_problems
from dapoctl.evaluation.run_sets import run_sources
from dapoctl.evaluation.summary import summary_of
from dapoctl.evaluation.target import Target
from dapoctl.training.build import build_eval_sets
from dapoctl.training.checkpoint import held_out

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


def run_with(folder: Path, *more: str) -> Resolved:
    """A run on five problems, two of which the evaluation set has too, one of them word for word."""
    training = ["What is 1 + 1?", f"{LONG}. When does it arrive?", "What is 5 - 3?", "What is 9 + 4?", "What is 7 + 7?"]
    held_out = ["what is 1 + 1 ?", f"Today: {LONG}. How far is it?", "What is 5 + 3?"]
    for name, texts in (("train", training), ("held", held_out)):
        rows = [json.dumps({"problem": text, "answer": "2"}) + "\n" for text in texts]
        (folder / f"{name}.jsonl").write_text("".join(rows))
    settings = ["task=math", f"math.data={folder / 'train.jsonl'}", "math.test_fraction=0", "eval.limit=1"]
    return load([], [*settings, f'eval.set=["{folder / "held.jsonl"}"]', *more])


def test_decontaminate_leaves_out_what_is_in_an_evaluation_set(tmp_path: Path) -> None:
    resolved = run_with(tmp_path)
    assert len(training_problems(resolved.config, resolved.pipeline)) == 5
    resolved = run_with(tmp_path, "eval.decontaminate=true")
    with pytest.warns(RunWarning, match=r"2 of 5 training problems are left out by `eval.decontaminate`"):
        kept = training_problems(resolved.config, resolved.pipeline)
    # The set as a whole, whatever `eval.limit` is.
    assert [problem.meta["problem"] for problem in kept] == ["What is 5 - 3?", "What is 9 + 4?", "What is 7 + 7?"]
    assert overlap(kept, resolved_set(resolved)).words("held") == ""


def resolved_set(resolved: Resolved) -> list[Problem]:
    (source,) = run_sources(resolved.config, resolved.pipeline)
    return source.load()


def test_decontaminate_that_leaves_nothing_or_has_no_set_is_refused(tmp_path: Path) -> None:
    resolved = run_with(tmp_path, "eval.decontaminate=true", f'eval.set=["{tmp_path / "train.jsonl"}"]')
    with pytest.raises(DataError, match="leaves none of the 5 training problems"):
        training_problems(resolved.config, resolved.pipeline)
    with pytest.raises(UserError, match="decontaminate does nothing with every = 0"):
        run_with(tmp_path, "eval.decontaminate=true", "eval.every=0")


def test_the_set_that_chooses_checkpoints_is_one_of_the_run(tmp_path: Path) -> None:
    resolved = run_with(tmp_path, "checkpoint.select_on=held")
    assert [source.label for source in run_sources(resolved.config, resolved.pipeline)] == ["held"]
    for settings, words in (
        (["checkpoint.select_on=hold"], r"`checkpoint.select_on` = 'hold': .* Did you mean `held`"),
        (["checkpoint.select_on=held", "eval.every=0"], "nothing is evaluated, for `eval.every` is 0"),
    ):
        resolved = run_with(tmp_path, *settings)
        with pytest.raises(ConfigError, match=words):
            run_sources(resolved.config, resolved.pipeline)
    with pytest.raises(UserError, match="select_on does nothing with keep_best = 0"):
        run_with(tmp_path, "checkpoint.select_on=held", "checkpoint.keep_best=0")


def test_checkpoints_are_chosen_on_the_set_that_is_named(tmp_path: Path) -> None:
    for name, accuracy in (("math", 0.2), ("aime24", 0.8)):
        folder = tmp_path / "evals" / name / "step_5"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"metrics": {f"eval/{name}/avg@4": accuracy}}))
    assert held_out(tmp_path, 5) == 0.5
    assert held_out(tmp_path, 5, "math") == 0.2
    assert held_out(tmp_path, 5, "mat*") is None
