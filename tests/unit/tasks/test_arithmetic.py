"""The embedded task: what it asks, what it keeps apart, and how it judges."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from dapoctl import DapoctlError, Problem
from dapoctl.models.build_tiny import worked
from dapoctl.tasks.arithmetic import Arithmetic, draw

PROBLEM = Problem(id="37+85", prompt="37+85=", answer="122")


def operands(problem: Problem) -> tuple[int, int]:
    first, second = problem.prompt.removesuffix("=").split("+")
    return int(first), int(second)


@pytest.mark.parametrize("max_digits", [1, 2, 4, 18])
@pytest.mark.parametrize("split", ["train", "test"])
def test_problems_are_different_and_their_answers_right(max_digits: int, split: str) -> None:
    problems = Arithmetic(max_digits=max_digits, train_size=500, test_size=100).load_problems(split)
    assert (
        len({problem.id for problem in problems}) == len({problem.prompt for problem in problems}) == len(problems) > 0
    )
    for problem in problems:
        assert int(problem.answer) == sum(operands(problem))


def test_splits_are_disjoint_whichever_way_round_and_whatever_the_sizes() -> None:
    train = {frozenset(operands(p)) for p in Arithmetic(max_digits=2, train_size=9000).load_problems("train")}
    test = {frozenset(operands(p)) for p in Arithmetic(max_digits=2, test_size=900).load_problems("test")}
    assert not train & test
    assert len(train) > 3000
    assert len(test) > 400


@pytest.mark.process
def test_sizes_and_order_are_stable() -> None:
    small, large = Arithmetic(test_size=16), Arithmetic(test_size=64)
    assert small.load_problems("test") == large.load_problems("test")[:16]
    assert len(large.load_problems("test")) == 64
    assert len(Arithmetic().load_problems("train")) == 4096
    code = "from dapoctl.tasks.arithmetic import Arithmetic as A; print(A(test_size=16).load_problems('test'))"
    for hash_seed in ("1", "2"):
        shown = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        assert shown.stdout.strip() == str(small.load_problems("test"))


def test_other_sums_than_those_of_training() -> None:
    long = Arithmetic(min_digits=5, max_digits=6, test_size=40).load_problems("test")
    assert {len(str(number)) for problem in long for number in operands(problem)} == {5, 6}
    several = Arithmetic(operands=3, test_size=40, train_size=400)
    for split in ("train", "test"):
        for problem in several.load_problems(split):
            numbers = [int(part) for part in problem.prompt.removesuffix("=").split("+")]
            assert len(numbers) == 3
            assert int(problem.answer) == sum(numbers)
    there, back = (Arithmetic(test_size=40, swapped=swapped).load_problems("test") for swapped in (False, True))
    assert [operands(problem)[::-1] for problem in there] == [operands(problem) for problem in back]
    assert [problem.answer for problem in there] == [problem.answer for problem in back]


def test_sums_of_several_numbers_are_held_out_in_any_order() -> None:
    task = Arithmetic(operands=3, max_digits=1, train_size=2000, test_size=2000)
    found = {
        split: {tuple(sorted(map(int, p.prompt[:-1].split("+")))) for p in task.load_problems(split)}
        for split in ("train", "test")
    }
    assert not found["train"] & found["test"]
    # C(10 + 2, 3) multisets of three digits.
    assert len(found["train"]) + len(found["test"]) == 220


def test_fewer_digits_than_none() -> None:
    with pytest.raises(ValueError, match="`min_digits` = 5 is above `max_digits` = 4"):
        Arithmetic(min_digits=5)


def test_every_pair_of_lengths_occurs() -> None:
    for split in ("train", "test"):
        problems = Arithmetic(train_size=1000).load_problems(split)
        seen = {tuple(len(str(n)) for n in operands(problem)) for problem in problems}
        assert seen == {(a, b) for a in range(1, 5) for b in range(1, 5)}


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(DapoctlError, match="no split `dev`"):
        Arithmetic().load_problems("dev")


@pytest.mark.parametrize(
    ("text", "outcome", "extracted"),
    [
        ("7+5=12 3+8+1=12 #122", "right", "122"),
        ("7+5=12 3+8+1=12 # 122.", "right", "122"),
        ("#0122", "right", "0122"),
        ("#121 check 7+5=12 #122", "right", "122"),
        ("#122 no, #121", "wrong", "121"),
        ("7+5=12 3+8+1=12 #1", "wrong", "1"),
        ("#-122", "wrong", "-122"),
        ("#1222", "wrong", "1222"),
        ("7+5=12 3+8+1=122", "unanswered", None),
        ("122", "unanswered", None),
        ("7+5=12 #", "unanswered", None),
        ("", "unanswered", None),
        ("#١٢٢", "unanswered", None),
    ],
)
def test_the_number_after_the_last_marker_decides(text: str, outcome: str, extracted: str | None) -> None:
    score = Arithmetic().score_response(PROBLEM, text)
    assert (score.outcome, score.extracted) == (outcome, extracted)
    assert score.correct == (outcome == "right")
    assert score.value == (1.0 if outcome == "right" else -1.0)


def test_rewards_are_separate_from_correctness() -> None:
    task = Arithmetic(right=0.25, wrong=0.25)
    assert [task.score_response(PROBLEM, text).correct for text in ("#122", "#1")] == [True, False]
    assert {task.score_response(PROBLEM, text).value for text in ("#122", "#1", "")} == {0.25}


def test_other_markers_suit_other_models() -> None:
    assert Arithmetic(marker="").score_response(PROBLEM, "37 and 85 make 122.").correct
    assert Arithmetic(marker="answer (").score_response(PROBLEM, "the answer (122)").correct


@pytest.mark.parametrize(
    "text",
    [
        "#" + "9" * 100_000,
        "#" * 100_000,
        "# " * 50_000,
        "#\x00121",
        "[/]#{0}%s",
        "\ud800#",
        "<eos>#<pad>",
        "#" + "0" * 5000,
    ],
)
@pytest.mark.parametrize("marker", ["#", "", ".*("])
def test_hostile_texts_get_a_verdict(text: str, marker: str) -> None:
    assert not Arithmetic(marker=marker).score_response(PROBLEM, text).correct


def test_zero_is_an_answer() -> None:
    zero = Problem(id="0+0", prompt="0+0=", answer="0")
    assert Arithmetic().score_response(zero, "0+0=0 #0").correct
    assert not Arithmetic().score_response(zero, "#").correct


def judged(prompt: str, text: str) -> dict[str, bool]:
    numbers = prompt.removesuffix("=").split("+")
    problem = Problem(id=prompt, prompt=prompt, answer=str(sum(map(int, numbers))))
    return {name: judge(problem, text) for name, judge in Arithmetic().judges().items()}


@pytest.mark.parametrize(
    ("text", "strict", "steps"),
    [
        ("7+5=12 3+8+1=12 #122", True, True),
        # The carry first, the digits the other way round: the same step.
        ("5+7=12 1+8+3=12 #122", True, True),
        ("7+5=12 3+8+1=12 check 7+5=12 #122", True, True),
        ("7+5=12 3+8+1=12 check 7+5=12 3+8+1=12 check 7+5=12 #122", True, True),
        # Right by wrong steps, and by none.
        ("7+5=11 3+8+1=12 #122", True, False),
        ("7+5=12 3+8=12 #122", True, False),
        ("3+8+1=12 7+5=12 #122", True, False),
        ("7+5=12 3+8+1=12 check 7+5=11 #122", True, False),
        ("7+5=12 3+8+1=12 0+0=0 #122", True, False),
        ("7+5=12 3+8+1=12 so #122", True, False),
        ("#122", True, False),
        ("", False, False),
        # Right steps to a wrong sum.
        ("7+5=12 3+8+1=12 #123", False, False),
        # The last one counts, for the reward; not for the strict rule.
        ("#9 #122", False, False),
        ("7+5=12 3+8+1=12 #122 and more", False, True),
    ],
)
def test_a_right_sum_is_not_yet_right_working(text: str, strict: bool, steps: bool) -> None:
    assert judged("37+85=", text) == {"strict": strict, "steps": steps}


def test_what_the_model_was_shown_is_judged_by_who_made_it() -> None:
    rng = random.Random(3)
    for _ in range(300):
        numbers = draw(rng, 1, 4, 2)
        prompt = "{}+{}=".format(*numbers)
        assert judged(prompt, worked(*numbers, rng, slip=0.0)) == {"strict": True, "steps": True}
        assert not judged(prompt, worked(*numbers, rng, slip=1.0))["steps"]
