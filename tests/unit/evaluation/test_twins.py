"""Twins: which problems have one, and that its answer follows from its numbers as the old one did."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from dapoctl.batch import Problem
from dapoctl.evaluation.contamination.equations import equations_of, number, terms
from dapoctl.evaluation.contamination.numbers import implied, numbers, rewritten
from dapoctl.evaluation.contamination.twins import Twin, twin, twins_of

# Of ASDiv (Miao et al. 2020) and of GSM8K (Cobbe et al. 2021), with a formula in which the names stand for the numbers.
SOLVED = [
    ("Seven red apples and two green apples are in the basket. How many apples are in the basket?", "9", "7+2=9",
     lambda a, b: a + b),
    ("Mrs. Hilt bought 6 hot dogs. Each hot dog cost 50 cents. How much money did she pay?", "300", "6*50=300",
     lambda a, b: a * b),
    ("A farmer had 225 seeds to plant. He planted the same number each day and it took him 5 days. How many a day?", "45",
     "225/5=45", lambda a, b: a / b),
    ("Dr. Mary donated $1,700.00 to three homes. She gave $245.00 to the first and $225.00 to the second. And the third?",
     "1230", "1,700-(245+225)=1230", lambda a, b, c: a - (b + c)),
    ("Ducks eat 3.5 pounds of insects each week. How many pounds do ten ducks need per day?", "5",
     "10 x 3.5 = <<10*3.5=35>>35\nper day 35/7=<<35/7=5>>5\n#### 5", lambda a, b: a * b / 7),
    ("Janet's ducks lay 16 eggs per day. She eats three and bakes with four. She sells the rest for $2 each. How much?", "18",
     "<<16-3-4=9>>9\n<<9*2=18>>18\n#### 18", lambda a, b, c, d: (a - b - c) * d),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer", "formula", "solve"), SOLVED)
def test_the_answer_of_a_twin_follows_from_its_numbers(question: str, answer: str, formula: str, solve) -> None:  # type: ignore[no-untyped-def]
    """By a function that was written for the question, not by what made the twin."""
    stated = [each.value for each in numbers(question)]
    used = [value for value in stated if value in {number(text) for text in re.findall(r"[\d.,]*\d", formula)}]
    assert solve(*used) == Fraction(answer)
    seen = set()
    for seed in range(20):
        made = twin(question, answer, {"formula": formula}, seed)
        assert isinstance(made, Twin), made
        new = {Fraction(old): Fraction(value) for old, value in made.numbers.items()}
        assert solve(*(new[value] for value in used)) == Fraction(made.answer)
        assert Fraction(made.answer).denominator == 1
        assert [each.value for each in numbers(made.question)] == [new.get(value, value) for value in stated]
        seen.add(made.question)
    assert question not in seen
    assert len(seen) > 5
    assert twin(question, answer, {"formula": formula}, 3) == twin(question, answer, {"formula": formula}, 3)


@pytest.mark.parametrize(
    ("question", "answer", "formula", "why"),
    [
        ("What is it?", "9", "no formula", "no equations"),
        ("Tom has 7 and 2.", "10", "7+2=9", "no equations"),
        ("Tom has 7 and 2.", "9", "7+2=8", "no equations"),
        ("Tom has some.", "9", "7+2=9", "none of its numbers"),
        # 3 separate meals of a day, and 3 cups: only one of them is in the equation.
        ("She gives 3 cups to each of 20 chickens in 3 meals.", "60", "3*20=60", "two things"),
        # One result is the number of something else.
        ("He had 9 and got 4, then 13 more.", "26", "<<9+4=13>> <<13+13=26>> #### 26", "two things"),
        # Half of 2: which of them is the 2 of the equation?
        ("A robe takes 2 bolts of blue and half that much white.", "3", "<<2/2=1>> <<2+1=3>> #### 3", "two things"),
        # 20% are left of what 80% were eaten of.
        ("The club ordered 20 pizzas and ate 80% of them.", "4", "20*20/100=4", "two things"),
        # The number of levels is the number of terms.
        ("A castle of 3 levels has 16 on top, each half of that below.", "112", "<<16+32+64=112>> #### 112", "does not state"),
        ("The sum of 3 numbers is 4 + 5 + 6; what is a third of it?", "5", "(4+5+6)/3=5", "two things"),
        ("The mean of 3 numbers, 14, 15 and 16?", "15", "(14+15+16)/3=15", "count the terms"),
        ("He pays 37 and a bit.", "54", "37+17=54", "does not state"),
        ("There are 5 phones, 4 of them cost 10 each.", "49", "4*10+9=49", "in the head|does not state"),
        ("The 4th of 12 has 4.", "16", "12+4=16", "two things"),
    ],
)  # fmt: skip
def test_what_is_not_clear_has_no_twin(question: str, answer: str, formula: str, why: str) -> None:
    made = twin(question, answer, {"formula": formula}, 0)
    assert isinstance(made, str), made
    assert re.search(why, made), made


def test_numbers_are_those_that_stand_for_themselves() -> None:
    text = "Seven of 1,200 ate 3/4 at 5:30, 2-litre, the 4th, x2, 0.50 and twenty-one for $.5, 80%."
    assert [(str(each.value), each.word, each.percent) for each in numbers(text)] == [
        ("7", True, False), ("1200", False, False), ("1/2", False, False), ("1/2", False, False), ("80", False, True)
    ]  # fmt: skip
    assert {3, 4, 5, 30, 2, 20, 1, 100} - {1} <= implied(text)
    assert {2, 12, 7} <= implied("twice a dozen each week")


def test_a_number_is_written_as_the_old_one_was() -> None:
    new = {Fraction(7): Fraction(11), Fraction(1200): Fraction(3400), Fraction(1, 2): Fraction(3, 4)}
    assert rewritten("Seven of 1,200 at 0.50, seven.", new) == "Eleven of 3,400 at 0.75, eleven."


def test_equations_hold_exactly_or_are_none() -> None:
    (found,) = equations_of("0.1+0.2=0.3", "0.3")
    assert found.result == Fraction(3, 10)
    assert terms(found.expression) == 2
    assert [each.result for each in equations_of("( 8.0 - 3.0 )", "5")] == [5]
    assert equations_of("2 (hour)*60 (min/hour)=120", "120")[0].literals == [2, 60]
    for hostile in (
        "__import__('os')=1",
        "2**9=512",
        "9//2=4",
        "1/0=1",
        "(" * 500 + "1=1",
        "a+b=1",
        "",
        "9" * 5000 + "=1",
    ):
        assert equations_of(hostile, hostile.rpartition("=")[2]) == []
    assert equations_of("+".join("1" * 2000) + "=2000", "2000") == []
    assert isinstance(twin("9" * 5000 + " of 7 and 2?", "9" * 5000, {"formula": "7+2=9"}, 0), str)
    assert isinstance(twin(f"7 and 2, x{'8' * 5000}, {'1,000' * 900}?", "9", {"formula": "7+2=9"}, 0), Twin)


def test_reasons_are_counted() -> None:
    problems = [
        Problem("a", "p", "9", {"problem": SOLVED[0][0], "formula": "7+2=9"}),
        Problem("b", "p", "4", {"problem": "2+2?"}),
    ]
    found, reasons = twins_of(problems, 0)
    assert [*found] == ["a"]
    assert dict(reasons) == {"no equations that give its answer": 1}
