"""The task `math`: what it reads, what it refuses and how, and what it makes of real data."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from dapoctl.batch import Problem, Score
from dapoctl.components.base import stages_of
from dapoctl.errors import DataError, RunWarning
from dapoctl.tasks.math import Math
from tests.support.places import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = '{"problem": "What is $1+1$?", "answer": "2"}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "set.jsonl"


@pytest.fixture(scope="module")
def scorer() -> Iterator[Math]:
    task = Math(workers=2, timeout_s=20)
    yield task
    task.close()


def test_provides_a_task() -> None:
    assert stages_of(Math) == ("load_problems", "score_response")
    assert Math().name == "math"


def test_problems_carry_id_prompt_answer_and_meta(file: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "problem": "{x} and {problem} {0}", "answer": "1", "level": 3, "tags": ["n"]},
        {"problem": "p2", "answer": 2},
        {"problem": "p3", "answer": 2.50},
        {"id": 7, "problem": "p4", "answer": 4.0},
        {"problem": "p5", "answer": "so 9 * 8 = <<9*8=72>>72\n#### 72"},
    ]
    file.write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    problems = Math(data=str(file), test_fraction=0, instruction="Q: {problem} {y}").load_problems("train")
    assert [problem.id for problem in problems] == ["a", "row-00001", "row-00002", "7", "row-00004"]
    assert [problem.answer for problem in problems] == ["1", "2", "2.5", "4", "72"]
    assert problems[0].prompt == "Q: {x} and {problem} {0} {y}"
    assert problems[0].meta == {"problem": "{x} and {problem} {0}", "level": 3}


def test_the_default_instruction_asks_for_an_answer_line(file: Path) -> None:
    file.write_text(GOOD)
    (problem,) = Math(data=str(file), test_fraction=0).load_problems("train")
    assert "What is $1+1$?" in problem.prompt
    assert "Answer: $Answer" in problem.prompt
    assert "{problem}" not in problem.prompt


def test_repeated_ids_are_made_unique(file: Path) -> None:
    ids = ["a", "a", "a#2", "a"]
    file.write_text("\n".join(json.dumps({"id": i, "problem": f"p{n}", "answer": "1"}) for n, i in enumerate(ids)))
    problems = Math(data=str(file), test_fraction=0).load_problems("train")
    assert [problem.id for problem in problems] == ["a", "a#2", "a#2#2", "a#3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data .*set.jsonl holds no problems; it needs at least one line with `problem` and `answer`"),
        ("\n \n", "holds no problems"),
        (GOOD + "\n\n{'problem': 1}", r"^set.jsonl:3: not JSON: Expecting property name .* at column 2$"),
        ("[\n" + GOOD + "\n]", r"^set.jsonl:1: not JSON: .*; write one object per line \(JSONL\), not one array"),
        ("[" * 100_000 + "]" * 100_000, "^set.jsonl:1: not JSON"),
        ('{"problem": "p", "answer": ' + "9" * 5000 + "}", "^set.jsonl:1: not JSON that can be read"),
        ('["p", "a"]', r'^set.jsonl:1: expected an object with `problem` and `answer`, got list \["p", "a"\]'),
        (
            '{"question": "p", "answer": "1"}',
            "^set.jsonl:1: no field `problem`; the fields are: question, answer. Set math.problem_f",
        ),
        ('{"problem": "p", "gold": "1"}', "no field `answer`; the fields are: problem, gold. Set math.answer_field"),
        ("{}", "the fields are: none"),
        (
            GOOD + '\n{"problem": "p", "answer": null}',
            "^set.jsonl:2: `answer` must be text or a number, got NoneType null",
        ),
        ('{"problem": "p", "answer": true}', "`answer` must be text or a number, got bool true"),
        (
            '{"problem": "p", "answer": ["1"]}',
            r'got list \["1"\]; fix the row or set math.answer_field to another field',
        ),
        ('{"problem": "p", "answer": NaN}', "`answer` must be text or a number, got float NaN"),
        ('{"problem": "p", "answer": 1e999}', "got float Infinity"),
        ('{"problem": 5, "answer": "1"}', "^set.jsonl:1: `problem` must be text, got int 5"),
        ('{"problem": "p", "answer": " "}', "^set.jsonl:1: `answer` is empty; fill it in or remove the row"),
        ('{"id": [1], "problem": "p", "answer": "1"}', "`id` must be text or an integer, got list"),
    ],
)
def test_bad_lines_are_named(file: Path, content: str, message: str) -> None:
    file.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        Math(data=str(file)).load_problems("train")
    assert caught.value.exit_code == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"problem": "\xe9", "answer": "1"}')
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    for source, message in [
        ("none.jsonl", r"no such file: .*none.jsonl \(looked in .*\); give a path to a .jsonl or .parquet file"),
        ("latin.jsonl", "is not UTF-8 text"),
        ("broken.parquet", "broken.parquet is not a parquet file that can be read"),
        ("", "is a folder; name a .jsonl or .parquet file in it"),
    ]:
        with pytest.raises(DataError, match=message):
            Math(data=str(tmp_path / source)).load_problems("train")


def test_data_must_be_named_and_the_split_known(file: Path) -> None:
    with pytest.raises(DataError, match=r"math.data is not set; .* --set math.data=FILE.jsonl"):
        Math().load_problems("train")
    file.write_text(GOOD)
    with pytest.raises(DataError, match="has the splits `train` and `test`, not `dev`"):
        Math(data=str(file)).load_problems("dev")


def test_parquet(tmp_path: Path) -> None:
    import datasets

    path = tmp_path / "set.parquet"
    datasets.Dataset.from_dict({"problem": ["p1", "p2"], "answer": [1, 2], "id": ["a", "b"]}).to_parquet(path)
    problems = Math(data=str(path), test_fraction=0).load_problems("train")
    assert [(problem.id, problem.answer) for problem in problems] == [("a", "1"), ("b", "2")]
    with pytest.raises(DataError, match=r"set.parquet: row 1: no field `gold`; the fields are: problem, answer, id"):
        Math(data=str(path), answer_field="gold").load_problems("train")


def test_hub_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[str, str | None, str]] = []

    def load_dataset(name: str, config: str | None, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        if name == "no/such":
            raise ConnectionError("Couldn't reach 'no/such' on the Hub\nand more")
        return [{"problem": "p", "answer": "1"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(Math(data="owner/name:main", split="all", test_fraction=0).load_problems("train")) == 1
    assert len(Math(test_data="owner/name").load_problems("test")) == 1
    assert asked == [("owner/name", "main", "all"), ("owner/name", None, "test")]
    with pytest.raises(
        DataError, match=r"no file no/such here, .* split `train` cannot be loaded: Couldn't reach .*Check"
    ):
        Math(data="no/such").load_problems("train")
    with pytest.raises(DataError, match="no such file"):
        Math(data="../no/such").load_problems("train")
    assert len(asked) == 3


def test_held_out_problems_are_a_function_of_the_text(file: Path) -> None:
    rows = [json.dumps({"problem": f"problem {n}", "answer": str(n)}) for n in range(1000)]
    file.write_text("\n".join(rows))
    task = Math(data=str(file), test_fraction=0.2)
    train = {problem.prompt for problem in task.load_problems("train")}
    test = {problem.prompt for problem in task.load_problems("test")}
    assert not train & test
    assert len(train | test) == 1000
    assert 150 < len(test) < 250
    file.write_text("\n".join(reversed([*rows, rows[0]])))
    with pytest.warns(RunWarning, match="1 of 1001 problems ask what an earlier one asks; each counts on its own"):
        assert {problem.prompt for problem in task.load_problems("test")} == test
    file.write_text(rows[0])
    assert len(Math(data=str(file), test_fraction=1).load_problems("test")) == 1
    with pytest.raises(DataError, match=r"leave none for `test` at test_fraction = 0.0; set math.test_data or change"):
        Math(data=str(file), test_fraction=0).load_problems("test")


def test_test_data_is_kept_out_of_training(file: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.jsonl"
    file.write_text("\n".join(json.dumps({"problem": f"p {n}", "answer": "1"}) for n in range(5)))
    held.write_text('{"problem": "p  3", "answer": "1"}')
    task = Math(data=str(file), test_data=str(held))
    assert len(task.load_problems("train")) == 4
    assert len(task.load_problems("test")) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout_s": 0},
        {"workers": 0},
        {"test_fraction": 1.5},
        {"instruction": "no place"},
        {"problem_field": ""},
        {"x": 1},
    ],
)
def test_fields_are_bounded(fields: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Math(**fields)


def test_scores() -> None:
    task = Math(right=2, wrong=-0.5, timeout_s=1, workers=1)
    problem = Problem("p", "?", "540")
    assert task.score_response(problem, "Answer: 540") == Score(2, True, "540", "right")
    assert task.score_response(problem, "Answer: 541") == Score(-0.5, False, "541", "wrong")
    assert task.score_response(problem, "dunno") == Score(-0.5, False, None, "unanswered")
    assert task.score_response(problem, "Answer: 9^{9^{9^9}}") == Score(-0.5, False, "9^{9^{9^9}}", "timeout")
    assert task.score_response(problem, "I get $\\frac{1080}{2}$") == Score(2, True, "\\frac{1080}{2}", "right")
    task.close()
    task.close()
    assert task.score_response(problem, "Answer: 540^1").correct
    task.close()


def plain(answer: str) -> str:
    """The digits and letters of an answer; `x=5` and `5` are the same answer to math-verify."""
    return re.sub(r"\W", "", answer.removeprefix("x="))


def real(name: str) -> list[Problem]:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not next to the checkout")
    return list(Math(data=str(path), test_fraction=0).load_problems("train"))


@pytest.mark.parametrize(
    ("name", "count", "step"),
    [
        pytest.param("math-500", 500, 1, marks=pytest.mark.slow),
        ("math-500", 500, 10),
        ("aime-2024", 30, 1),
        ("gsm8k-test", 1319, 7),
        ("asdiv-train", 1788, 7),
    ],
)
def test_gold_answers_of_real_sets(scorer: Math, name: str, count: int, step: int) -> None:
    problems = real(name)
    assert len(problems) == count
    problems = problems[::step]

    def judge(index: int) -> tuple[bool, bool]:
        problem, other = problems[index], problems[index - 1]
        own = f"Some words.\n\nAnswer: ${problem.answer}$." if index % 2 else f"So it is $\\boxed{{{problem.answer}}}$."
        same = plain(problem.answer) == plain(other.answer)
        return (
            scorer.score_response(problem, own).correct,
            not same and scorer.score_response(problem, f"Answer: {other.answer}").correct,
        )

    with ThreadPoolExecutor(2) as threads:
        verdicts = list(threads.map(judge, range(len(problems))))
    assert [problems[index].answer for index, (own, _) in enumerate(verdicts) if not own] == []
    assert [problems[index].answer for index, (_, other) in enumerate(verdicts) if other] == []


def test_workers_agree_with_themselves_on_math_500(scorer: Math) -> None:
    problems = real("math-500")[::3]
    assert not scorer.score_response(problems[0], "Answer: \\frac{1}{7}").correct
    verifier = scorer._verifier
    assert verifier is not None
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(lambda p: verifier.ask(p.answer, p.answer, marked=True).outcome, problems))
    assert outcomes.count("right") / len(problems) >= 0.98
