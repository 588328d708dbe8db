"""Unlike evaluations are badged: a test for each kind of difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dapoctl.evaluation.compare.badges import SETTINGS, badges, divergence
from dapoctl.evaluation.stored import Evaluation, open_evaluation
from dapoctl.runs.files import write_json
from tests.support.evaluations import counted, evaluate, make_run, row, rows_of

ROWS = rows_of(counted([0, 1, 2, 4]), 4)


def side(root: Path, letter: str, rows: list[dict[str, Any]] = ROWS, **changed: Any) -> Evaluation:
    run = make_run(root, f"20260101-000000-{letter}-{letter * 4}")
    evaluate(run, rows, **changed)
    return open_evaluation(root, letter * 4, "aime24")


def kinds(first: Evaluation, second: Evaluation) -> dict[str, str]:
    return {badge.kind: badge.words for badge in badges(first, second)}


def test_like_evaluations_have_no_badge(tmp_path: Path) -> None:
    # Neither the seed of sampling, nor the time it took, nor the protocol's name makes them unlike.
    second = side(tmp_path, "b", protocol={"seed": 5, "name": "other"}, seconds=99.0)
    assert kinds(side(tmp_path, "a"), second) == {}


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "template": ({"protocol": {"template": "chat"}}, "plain / chat"),
    "temperature": ({"protocol": {"temperature": 0.6}}, "1 / 0.6"),
    "top_p": ({"protocol": {"top_p": 0.95}}, "0.7 / 0.95"),
    "scorer": ({"protocol": {"scorer": "strict"}}, "math / strict"),
    "token limit": ({"protocol": {"max_tokens": 1024}}, "512 / 1024"),
    "engine": ({"protocol": {"engine": "vllm"}}, "hf / vllm"),
    "prompt": (
        {"protocol": {"instruction": "Solve that.\n\n{problem}"}},
        '"Solve this.\\n\\n{problem}\\n\\n" / "Solve that.\\n\\n{problem}"',
    ),
    "set": ({"data": {"sha256": "b" * 64}}, "hash aaaaaaaa / bbbbbbbb, 4 problems shared of 4 / 4"),
    "unasked": ({"unasked": 3}, "B had no room for 3 prompts, which count as wrong"),
    "incomplete": ({"complete": False, "data": {"problems": 9}}, "B has 4 of 9 problems"),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_difference_has_its_badge_and_no_other(kind: str, tmp_path: Path) -> None:
    changed, words = CASES[kind]
    found = kinds(side(tmp_path, "a"), side(tmp_path, "b", **changed))
    assert [*found] == [kind]
    assert found[kind] == words


def test_chat_against_plain_is_seen_behind_an_automatic_template(tmp_path: Path) -> None:
    """`auto` on both sides, and two models: what it came to is recorded, and where it is not, that is said."""
    auto = {"template": "auto"}
    first = side(tmp_path, "a", protocol=auto, template="chat")
    assert kinds(first, side(tmp_path, "b", protocol=auto, template="plain")) == {"template": "chat / plain"}
    assert kinds(first, side(tmp_path, "c", protocol={"template": "chat"})) == {}
    assert kinds(first, side(tmp_path, "d", protocol=auto, template="chat")) == {}
    old = side(tmp_path, "e", protocol=auto)
    assert kinds(old, side(tmp_path, "f", protocol=auto)) == {}
    other = make_run(tmp_path, "20260101-000000-g-gggg", config={"model": {"path": "other"}})
    evaluate(other, ROWS, protocol=auto)
    assert kinds(old, open_evaluation(tmp_path, "gggg", "aime24")) == {"unknown": "template"}


def test_other_steps_of_two_runs_and_untrained_ones(tmp_path: Path) -> None:
    first = side(tmp_path, "a")
    assert kinds(first, side(tmp_path, "b", step=60)) == {"step": "100 / 60"}
    assert kinds(first, side(tmp_path, "c", step=0)) == {"untrained": "B is at step 0, before its training"}
    # Of one run, the step is what is compared; a model by itself has none.
    evaluate(first.run.directory, ROWS, step=0)
    assert kinds(first, open_evaluation(tmp_path, "aaaa@0", "aime24")) == {}
    alone = make_run(tmp_path, "20260101-000000-g-gggg", kind="eval")
    evaluate(alone, ROWS, step=0)
    assert kinds(open_evaluation(tmp_path, "gggg", "aime24"), first) == {}


def test_the_scorer_math_before_and_since_it_asks_for_a_mark(tmp_path: Path) -> None:
    since = [each | {"marked": each["correct"]} for each in ROWS]
    first, second = side(tmp_path, "a"), side(tmp_path, "b", since)
    assert kinds(first, second) == {"scorer": "math_lenient / math (as `math` was then called)"}
    assert kinds(second, side(tmp_path, "c", since)) == {}
    assert kinds(first, side(tmp_path, "d", since, protocol={"scorer": "dapo"})) == {"scorer": "math / dapo"}


def test_every_setting_has_a_case() -> None:
    assert {*SETTINGS.values()} < {*CASES}


def test_another_k(tmp_path: Path) -> None:
    assert kinds(side(tmp_path, "a"), side(tmp_path, "b", rows_of(counted([0, 1, 2, 2]), 2), k=2)) == {"k": "4 / 2"}


def test_other_problems_and_other_answers(tmp_path: Path) -> None:
    rows = [each | ({"answer": "9"} if each["problem"] == "p01" else {}) for each in ROWS[4:]]
    second = side(tmp_path, "b", [*rows, *rows_of({"new": 1}, 4)], data={"sha256": "b" * 64})
    found = kinds(side(tmp_path, "a"), second)
    assert found == {
        "set": "hash aaaaaaaa / bbbbbbbb, 3 problems shared of 4 / 4; 1 of them with another answer, left out"
    }


def old(root: Path, letter: str, rows: list[dict[str, Any]] = ROWS) -> Evaluation:
    """As versions before protocols wrote it."""
    folder = side(root, letter, rows).folder
    write_json(folder / "summary.json", {"step": 100, "metrics": {"eval/aime24/avg@4": 0.5}, "seed": 1})
    return open_evaluation(root, letter * 4, "aime24")


def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    everything = "template, temperature, top_p, scorer, token limit, engine, set hash"
    assert kinds(side(tmp_path, "a"), old(tmp_path, "b")) == {"unknown": f"{everything} of B"}
    assert kinds(old(tmp_path, "c"), old(tmp_path, "d")) == {"unknown": f"{everything} of A and B"}


def test_one_missing_setting_is_unknown(tmp_path: Path) -> None:
    assert kinds(side(tmp_path, "a"), side(tmp_path, "b", protocol={"scorer": None})) == {"unknown": "scorer"}


def test_prompts_of_old_evaluations_are_compared_themselves(tmp_path: Path) -> None:
    other = [row | {"prompt": f"{row['prompt']} Think."} for row in ROWS]
    found = kinds(old(tmp_path, "a"), old(tmp_path, "b", other))
    assert found["prompt"] == 'of 4 of 4 problems, such as "... is p00?" / "... is p00? Think."'


def test_prompts_of_tasks_with_prompts_of_their_own_are_compared_themselves(tmp_path: Path) -> None:
    own = {"instruction": ""}
    other = [row | {"prompt": f"{row['prompt']} Think."} for row in ROWS]
    first = side(tmp_path, "a", protocol=own)
    assert kinds(first, side(tmp_path, "b", protocol=own)) == {}
    assert [*kinds(first, side(tmp_path, "c", other, protocol=own))] == ["prompt"]


def test_old_evaluations_of_other_problems(tmp_path: Path) -> None:
    found = kinds(old(tmp_path, "a"), old(tmp_path, "b", rows_of({"x": 1, "y": 2}, 4)))
    assert found["set"] == "0 problems shared of 4 / 2"
    assert "prompt" in found["unknown"]


def test_control_characters_in_a_prompt_are_spelled_out(tmp_path: Path) -> None:
    found = kinds(side(tmp_path, "a"), side(tmp_path, "b", protocol={"instruction": "\x1b[31m{problem}"}))
    assert "\\x1b[31m" in found["prompt"]


@pytest.mark.parametrize(
    ("first", "second", "place"), [("", "", 0), ("abc", "abd", 2), ("abc", "ab", 2), ("x", "y", 0)]
)
def test_where_texts_part(first: str, second: str, place: int) -> None:
    assert divergence(first, second) == place


def test_a_single_row(tmp_path: Path) -> None:
    assert kinds(side(tmp_path, "a", [row("p", 0, True)], k=1), side(tmp_path, "b", [row("p", 0, False)], k=1)) == {}
