"""Sets by name: what they are, what becomes of their rows, and where names may be used."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dapoctl.batch import Problem
from dapoctl.errors import DataError, UserError
from dapoctl.evaluation.problem_source import find_source
from dapoctl.evaluation.protocol import INSTRUCTION, PRESETS, build_protocol
from dapoctl.tasks import read_problems as rows_module
from dapoctl.tasks.math import Math
from dapoctl.tasks.problem_sets import SETS, content_hash, find_set
from dapoctl.tasks.read_problems import normalise

ASKED = {"instruction": "{problem}", "scorer": "math"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Three rows in the columns of whichever set is asked for; what was asked."""
    asked: list[tuple[str, str]] = []

    def read_rows(source: str, split: str) -> Iterator[tuple[str, Any]]:
        asked.append((source, split))
        (known,) = [known for known in SETS.values() if known.hub == source]
        for number in range(3):
            row = {known.problem: f"What is {number}+1?", known.answer: str(number + 1), "level": number}
            row |= {known.id: 60 + number} if known.id else {}
            yield f"{source}: row {number}", row | ({known.context: "Two words."} if known.context else {})

    monkeypatch.setattr(rows_module, "read_rows", read_rows)
    return asked


def test_every_set_says_where_it_is_from() -> None:
    assert {"aime24", "aime25", "math500", "gsm8k", "amc23", "dapo17k", "arithmetic"} <= SETS.keys()
    for name, known in SETS.items():
        assert known.name == name
        assert known.title
        assert known.licence
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", known.released) or name in ("dapo17k", "arithmetic")
        assert known.hub.count("/") == (0 if name == "arithmetic" else 1)


@pytest.mark.parametrize("name", [name for name in SETS if name != "arithmetic"])
def test_a_name_stands_for_problems_to_evaluate_on(hub: list[tuple[str, str]], name: str) -> None:
    source = find_source(name, "", {}, ASKED)
    problems = source.load()
    assert hub == [(SETS[name].hub, SETS[name].test_split)]
    before = "Two words. " if SETS[name].context else ""
    assert [(problem.prompt, problem.answer) for problem in problems] == [
        (f"{before}What is {n}+1?", str(n + 1)) for n in range(3)
    ]
    assert len({problem.id for problem in problems}) == 3
    assert source.label == name
    assert source.describe(problems)["source"] == SETS[name].hub
    assert len(source.load(2)) == 2


def test_a_name_stands_for_problems_to_train_on(hub: list[tuple[str, str]]) -> None:
    assert len(Math(data="dapo17k", test_fraction=0).load_problems("train")) == 3
    assert len(Math(data="gsm8k", test_fraction=0).load_problems("train")) == 3
    with pytest.raises(DataError, match="leave none"):
        # Training problems that are held out by the other set are dropped.
        Math(data="gsm8k", test_data="math500").load_problems("train")
    assert hub == [
        ("open-r1/DAPO-Math-17k-Processed:all", "train"),
        ("openai/gsm8k:main", "train"),
        ("HuggingFaceH4/MATH-500", "test"),
        ("openai/gsm8k:main", "train"),
    ]


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("aime24").write_text('{"problem": "1+1?", "answer": "2"}\n')
    assert len(Math(data="aime24", test_fraction=0).load_problems("train")) == 1


def test_prompts_around_a_question_are_taken_off() -> None:
    known = find_set("dapo17k")
    assert known is not None
    asked = INSTRUCTION.replace("{problem}", "Find $x$.\nIt is small.")
    assert normalise(known, {"prompt": asked, "solution": "34"}, 0, "here")["problem"] == "Find $x$.\nIt is small."
    assert normalise(known, {"prompt": "Find $x$.", "solution": "34"}, 7, "here")["id"] == "dapo17k-07"


def test_asdiv_is_read_as_its_authors_wrote_it() -> None:
    """Two rows of its ASDiv.xml, in the columns of EleutherAI/asdiv."""
    known = find_set("asdiv")
    assert known is not None
    row = {
        "body": "Seven red apples and two green apples are in the basket.",
        "question": "How many apples are in the basket? ",
        "answer": "9 (apples)",
        "formula": "7+2=9",
    }
    made = normalise(known, row, 0, "here")
    assert (
        made["problem"] == "Seven red apples and two green apples are in the basket. How many apples are in the basket?"
    )
    assert (made["answer"], made["formula"]) == ("9", "7+2=9")
    row["answer"] = "17 (years old); 12 (years old)"
    assert normalise(known, row, 0, "here")["answer"] == "17; 12"
    with pytest.raises(DataError, match="has no column `body`"):
        normalise(known, {"question": "", "answer": ""}, 0, "there")


def test_a_worked_solution_is_kept_beside_its_answer() -> None:
    row = {"problem": "2+2?", "answer": "It is <<2+2=4>>4.\n#### 4"}
    (problem,) = rows_module.to_problems([("here", row)], "problem", "answer", "{problem}", "s", "math")
    assert (problem.answer, problem.meta["solution"]) == ("4", row["answer"])


def test_a_set_that_has_changed_is_named() -> None:
    known = find_set("gsm8k")
    assert known is not None
    with pytest.raises(
        DataError, match=r"there: the set `gsm8k` has no column `question`; its columns are: text, answer"
    ):
        normalise(known, {"text": "", "answer": ""}, 0, "there")


@pytest.mark.parametrize(
    ("name", "nearest"), [("aime224", "aime24"), ("math50", "math500"), ("arithmetik", "arithmetic")]
)
def test_unknown_names_come_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(DataError, match=f"unknown set `{name}`. Did you mean `{nearest}`"):
        find_source(name, "", {}, ASKED)


def test_an_unknown_name_as_data_comes_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"nor a set of that name\. Did you mean `gsm8k`"):
        Math(data="gms8k").load_problems("train")


def test_a_file_stands_for_the_set(tmp_path: Path) -> None:
    path = tmp_path / "my set (1).jsonl"
    path.write_text('{"id": "a", "problem": "1+1?", "answer": "2"}\n{"id": "b", "problem": "2+2?", "answer": 4}\n')
    source = find_source("aime24", str(path), {}, ASKED)
    assert (source.label, source.origin, source.split) == ("aime24", str(path), "")
    problems = source.load()
    # The hash as anyone can compute it: ids, questions and answers, without the prompt around them.
    content = json.dumps([["a", "1+1?", "2"], ["b", "2+2?", "4"]], separators=(",", ":"))
    assert source.describe(problems) == {
        "source": str(path),
        "split": "",
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "problems": 2,
        "ids": ["a", "b"],
        "files": {str(path): {"bytes": 90, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}},
    }
    assert find_source("", str(path), {}, ASKED).label == "my_set_1_"
    other = find_source("aime24", str(path), {}, {"instruction": "Please: {problem}", "scorer": "strict"})
    assert content_hash(other.load()) == content_hash(problems)
    assert other.judged_by == "strict"


def test_a_file_may_have_the_hubs_columns(tmp_path: Path) -> None:
    path = tmp_path / "gsm.jsonl"
    path.write_text('{"question": "1+1?", "answer": "One and one. #### 2"}\n')
    (problem,) = find_source("gsm8k", str(path), {}, ASKED).load()
    assert (problem.prompt, problem.answer) == ("1+1?", "2")


def test_a_task_has_prompts_and_a_rule_of_its_own() -> None:
    source = find_source("arithmetic", "", {"arithmetic": {"max_digits": 2}}, ASKED)
    assert (source.label, source.judged_by, source.instruction, source.accepts) == (
        "arithmetic",
        "arithmetic",
        "",
        set(),
    )
    assert all(len(problem.prompt) <= 6 for problem in source.load(20))


@pytest.mark.parametrize("label", ["", "..", "a/b", "../x", "a b", ".hidden", "x" * 65])
def test_names_that_cannot_be_folders_are_refused(tmp_path: Path, label: str) -> None:
    path = tmp_path / "-.jsonl"
    path.write_text('{"problem": "1+1?", "answer": "2"}\n')
    with pytest.raises(UserError, match="must be letters"):
        find_source(label, str(path), {}, ASKED)


def test_the_hash_tells_ids_questions_answers_and_order() -> None:
    base = [Problem("a", "q", "1"), Problem("b", "r", "2")]
    others = [
        [Problem("c", "q", "1"), base[1]],
        [Problem("a", "s", "1"), base[1]],
        [Problem("a", "q", "3"), base[1]],
        base[::-1],
        base[:1],
    ]
    assert len({content_hash(problems) for problems in [base, *others]}) == 6


def test_presets_and_what_may_be_changed() -> None:
    default = build_protocol(None, {})
    assert (default.name, default.temperature, default.top_p, default.k) == ("dapo", 1.0, 0.7, 32)
    assert "The last line of your response should be of the form Answer: $Answer" in default.instruction
    greedy = build_protocol("greedy", {})
    assert (greedy.temperature, greedy.k) == (0.0, 1)
    assert [(p.temperature, p.top_p) for p, _ in PRESETS.values()][2] == (0.6, 0.95)
    changed = build_protocol("greedy", {"temperature": 0.3, "k": 8, "top_p": None, "seed": 5, "max_tokens": 77})
    assert (changed.temperature, changed.k, changed.top_p, changed.seed, changed.max_tokens) == (0.3, 8, 1.0, 5, 77)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gredy", {}, r"--protocol gredy: .*Did you mean `greedy`"),
        (None, {"k": 0}, r"-k 0: must be at least 1"),
        (None, {"top_p": 0.0}, r"--top-p 0\.0"),
        (None, {"temperature": -1.0}, r"--temperature -1\.0"),
        (None, {"temperature": float("nan")}, r"--temperature nan"),
        (None, {"max_tokens": 0}, r"--max-tokens 0"),
        (None, {"seed": -1}, r"--seed -1"),
        (None, {"instruction": "Solve it."}, r"--instruction: must contain \{problem\}"),
        (None, {"scorer": "mth"}, r"unknown scorer `mth`\. Did you mean `math`"),
        ("greedy", {"k": 4}, r"-k 4 at temperature 0"),
    ],
)
def test_protocols_that_make_no_sense(name: str | None, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_protocol(name, changes)


def test_sets_of_a_run_are_asked_as_it_asks_its_own(tmp_path: Path) -> None:
    from dapoctl.config.resolve import load
    from dapoctl.evaluation.run_sets import run_source

    path = tmp_path / "words.jsonl"
    path.write_text('{"problem": "1+1?", "answer": "2"}\n')
    settings = ["task=math", f"math.data={path}", 'math.instruction="Q: {problem}"', "math.scorer=dapo"]
    for scorer in ("math", "strict"):
        resolved = load([], [*settings, f"eval.scorer={scorer}"])
        file = run_source(str(path), resolved.config, resolved.pipeline)
        assert (file.label, file.judged_by, file.load()[0].prompt) == ("words", scorer, "Q: 1+1?")
        own = run_source("math", resolved.config, resolved.pipeline)
        # The reward keeps its own rule.
        assert (own.label, own.judged_by, own.instruction) == ("math", scorer, "Q: {problem}")
        assert resolved.pipeline.components["math"].scorer == "dapo"  # type: ignore[attr-defined]
    other = load([], [])
    assert run_source("arithmetic", other.config, other.pipeline).judged_by == "arithmetic"
    assert "Answer: $Answer" in run_source(str(path), other.config, other.pipeline).load()[0].prompt
