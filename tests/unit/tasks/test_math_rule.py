"""The rule of `math`: only a marked answer is paid, and it is compared for what it is.

Slow: the questions of MATH-500 and all their formulas copied, and right responses cut off; each needs computer algebra.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dapoctl.tasks import markers
from dapoctl.tasks.meaning import Meaning, stands_in
from dapoctl.tasks.verify import Verifier
from experiments.bench import scorer_attacks, scorer_cases
from tests.support.places import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def math() -> Iterator[Meaning]:
    pool = Meaning(workers=1, limit_s=20)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: The answer is 34.", "34"),
        ("The answer is 34.", "34"),
        ("So the final answer is: 35", "35"),
        ("Final Answer: The largest $n$ is 34. I hope it is correct.", "34"),
        ("Answer: Janet makes $18 a day.", "18"),
        ("Answer: 18 and that is it", "18"),
        ("Answer: 541, or rather the answer: 540", "540"),
        ("Answer: 541\nANSWER : 540", "540"),
        ("#### 72", "72"),
        ("<answer> 84 </answer>", "84"),
        ("\u7b54\u6848\uff1a18", "18"),
        ("so \\fbox{18}.", "18"),
        ("Answer: 18</s>", "18"),
        ("Answer: 18<|im_end|>\n<|im_start|>user\nAnswer: 19", "18"),
        ("roots \\boxed{-2} \\quad \\text{and} \\quad \\boxed{1}.", "-2, 1"),
        ("<think>Answer: 5</think>\nAnswer: 6", "6"),
        ("I think.</think>\nAnswer: 6", "6"),
        ("Answer:\n\n$$\n540\n$$", "540"),
        ("Therefore $x \\geq 5$ is the solution.", "x \\geq 5"),
        # Several: the line stays whole, and is no single answer.
        ("Answer: 541 maybe 540", "541 maybe 540"),
        ("Answer: it is not 540", "it is not 540"),
        ("Answer: 540 million", "540 million"),
        ("Answer: 18 twice", "18 twice"),
        ("Answer: more than 18", "more than 18"),
    ],
)
def test_marked_answers(text: str, answer: str) -> None:
    assert markers.find(text) == markers.Found(answer, marked=True)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("540", "540"),
        ("18 dollars", "18 dollars"),
        ("$$\n\\frac{1}{2}\n$$", "\\frac{1}{2}"),
        ("x = 5", "x = 5"),
        ("1,000.99\u20ac", "1,000.99\u20ac"),
        ("We find that $x < 3$.", "x < 3"),
    ],
)
def test_nothing_but_the_answer_needs_no_mark(text: str, answer: str) -> None:
    assert markers.find(text) == markers.Found(answer, marked=False)


@pytest.mark.parametrize(
    "text",
    [
        "so it must be 540",
        "There are 12 of them.",
        "First, 12 times 45.\nThat makes 540",
        "Let $x = 540$.",
        "Since it is given that $n = 540$",
        "#### Step 540",
        "<think>The answer is \\boxed{540}</think> Some other text.",
        "<think>Let me see. Answer: 540",
        "<answer>540",
        "\\boxed{540",
        "Answer:",
        "Answer: **",
        "I do not know.",
        "no idea",
        "",
    ],
)
def test_what_no_mark_says_is_unanswered(math: Meaning, text: str) -> None:
    verdict = math.verify(text, "540")
    assert (verdict.outcome, verdict.extracted, verdict.marked) == ("unanswered", None, False)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("-1 + sqrt(3)", "\\sqrt{3} - 1"),
        ("(3*sqrt(5))/7", "\\frac{3\\sqrt{5}}{7}"),
        ("1 000", "1000"),
        ("1\\,234.5", "1234.5"),
        ("1,000.99", "1000.99"),
        ("74\u00b0", "74"),
        ("18 km/h", "18"),
        ("18 m\u00b2", "18"),
        ("\u20ac18", "18"),
        ("18 (apples)", "18"),
        ("= 18", "18"),
        ("7 \\text{ goats and } 4 \\text{ helicopters}", "7,4"),
        ("\\boxed{7} and \\boxed{4}", "7, 4"),
        ("(0, 1)", "0 < x < 1"),
        ("y = 6, x = 5", "x = 5, y = 6"),
        ("5, 6", "x = 5, y = 6"),
        ("6, 5", "5, 6"),
        ("\\{2, 1\\}", "1, 2"),
        ("(5,2),(7,2)", "p=5,q=2;p=7,q=2"),
        ("1 - \\sqrt{19}, 1 + \\sqrt{19}", "1 \\pm \\sqrt{19}"),
        ("54_{10}", "54"),
        ("204_5", "204_{5}"),
        ("f(z) = z", "f(x) = x"),
        ("60 lollipop, 40 chocolate", "40 chocolate, 60 lollipop"),
        ("\\dfrac{27}{59}", "0.458"),
        ("30^\\circ", "\\frac{\\pi}{6}"),
        ("(C)", "\\text{C}"),
        ("1e-7", "0.0000001"),
        ("12:00", "12:00"),
        ("11:21", "\\frac{11}{21}"),
    ],
)
def test_right(math: Meaning, answer: str, gold: str) -> None:
    assert math.verify(f"Answer: {answer}", gold).outcome == "right"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("204", "204_5"),
        ("204_6", "204_5"),
        ("540_7", "540"),
        ("\\{1,2\\}", "(1,2)"),
        ("(1,2)", "\\{1,2\\}"),
        ("(2,1)", "(1,2)"),
        ("6, 5", "x = 5, y = 6"),
        ("x = 6, y = 5", "x = 5, y = 6"),
        ("2e-7", "1e-7"),
        ("\\frac{1}{2^{98}}", "\\frac{1}{2^{99}}"),
        ("40", "40\\text{ red}, 60\\text{ blue}"),
        ("40 chocolate, 50 hard", "40 chocolate, 60 lollipop"),
        ("0 to 999", "0"),
        ("18 twice", "18"),
        ("5 cm", "5 km"),
        ("1:00", "12:00"),
        ("\\frac{1}{2} = \\frac{1}{3}", "\\frac{1}{3}"),
        ("2021", "\\pm 2021"),
        ("0.33", "\\frac{1}{3}"),
        ("5.001", "5"),
        ("18!", "18"),
        ("__import__('os').system('exit 1') or 0", "0"),
        (", ".join(map(str, range(500, 600))), "540"),
        ("[0, 999]", "540"),
        ("0 \\leq x \\leq 999", "540"),
        ("\\mathbb{R}", "540"),
    ],
)
def test_wrong(math: Meaning, answer: str, gold: str) -> None:
    assert math.verify(f"Answer: {answer}", gold).outcome == "wrong"


def test_an_expression_of_the_question_must_be_the_golds_text(math: Meaning) -> None:
    question = "Simplify $\\sqrt{242}$, or evaluate $f(2) = 3 + 4$ if $y = 5$."
    for copied, gold in (
        ("\\sqrt{242}", "11\\sqrt{2}"),
        ("3+4", "7"),
        ("f(2) = 3 + 4", "7"),
        ("\\sqrt {242}", "11\\sqrt2"),
    ):
        assert math.verify(f"Answer: ${copied}$", gold).outcome == "right"
        assert math.verify(f"Answer: ${copied}$", gold, question).outcome == "wrong"
        assert math.verify(f"So it is \\boxed{{{copied}}}.", gold, question).outcome == "wrong"
    # The gold's own text, and another way to write what does not stand there.
    assert math.verify("Answer: $y = 5$", "5", question).outcome == "right"
    assert math.verify("Answer: \\sqrt{242}", "\\sqrt{242}", question).outcome == "right"
    assert math.verify("Answer: $\\sqrt{121 \\cdot 2}$", "11\\sqrt{2}", question).outcome == "right"
    assert math.verify(question, "11\\sqrt{2}", question).outcome == "unanswered"


@pytest.mark.parametrize(
    ("answer", "question", "found"),
    [
        ("2 + 3", "What is 2+3?", True),
        ("2+3", "What is $12+3$?", False),
        ("2+3", "What is $2+34$?", False),
        ("\\frac{1}{2}", "Is $\\dfrac12 < x$?", True),
        ("5", "There are 2015 of them.", False),
        ("5", "", False),
    ],
)
def test_what_stands_in_a_question(answer: str, question: str, found: bool) -> None:
    assert stands_in(answer, question) is found


def test_a_word_alone_answers_a_question_for_a_word(math: Meaning) -> None:
    assert math.verify("Evelyn", "\\text{Evelyn}").outcome == "right"
    assert math.verify("Carla", "\\text{Evelyn}").outcome == "unanswered"


def test_thoughts_and_markers_without_end_take_no_time() -> None:
    for piece in (
        "<think>",
        "</think>",
        "<answer>",
        "Answer: ",
        "\\boxed{",
        "answer is ",
        "#### ",
        "$",
        "is our answer ",
        "<|x|>",
    ):
        markers.find(piece * 20_000)


def rows(name: str) -> list[dict[str, Any]]:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not next to the checkout")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_two_answers_at_once_are_right_for_neither(math: Meaning) -> None:
    pairs = [pair for place, pair in enumerate(scorer_attacks.hedges()) if place % 3 == 0]
    assert len(pairs) > 50
    attacks = [attack for pair in pairs for attack in pair]
    assert [(attack.response, attack.gold) for attack in scorer_attacks.hits(math, attacks, 1)] == []


def test_what_holds_every_answer_is_right_for_none(math: Meaning) -> None:
    attacks = [
        attack for attack in scorer_attacks.everything(["540", "0", "\\frac{1}{2}", "C"]) if not attack.same_text
    ]
    assert [(attack.response, attack.gold) for attack in scorer_attacks.hits(math, attacks, 1)] == []


def test_right_responses_cut_off_are_never_right(math: Meaning) -> None:
    """Copied text and a last number paid before: the lenient rule is right on a part of these."""
    right = [row for row in rows("scorer-cases") if row["expected"] and len(row["response"]) > scorer_attacks.LONG]
    attacks = [attack for row in right[::8] for attack in scorer_attacks.cut(row["response"], row["gold"])]
    assert len(attacks) > 250
    assert [(attack.response[-80:], attack.gold) for attack in scorer_attacks.hits(math, attacks, 1)] == []
    lenient = Verifier(workers=1, limit_s=20)
    assert scorer_attacks.hits(lenient, attacks[:60], 1)
    lenient.close()


def test_copied_questions_and_formulas_are_paid_only_as_the_golds_text(math: Meaning) -> None:
    # Problems of which a copied formula is the answer by computer algebra, and some besides.
    known = [row for row in rows("math-500") if "implify" in row["problem"] or "Compute" in row["problem"]][:12]
    attacks = [attack for row in known for attack in scorer_attacks.copies(row["problem"], row["answer"])]
    longest = [attack for attack in attacks if attack.kind != "any formula"]
    assert [a.response for a in scorer_attacks.hits(math, longest, 1) if not a.same_text] == []


@pytest.mark.slow
def test_nothing_of_math_500_is_paid_for_copying(math: Meaning) -> None:
    attacks = [attack for row in rows("math-500") for attack in scorer_attacks.copies(row["problem"], row["answer"])]
    kinds = ("question", "longest formula")
    tried = [
        attack for attack in attacks if attack.kind in kinds and attack.response.startswith(("Answer", attack.question))
    ]
    assert [a.response for a in scorer_attacks.hits(math, tried, 2) if not a.same_text] == []


@pytest.mark.slow
def test_agreement_with_labels_that_others_gave() -> None:
    cases = rows("scorer-cases")
    figures = scorer_cases.table(cases, {"math": scorer_cases.judge("math", cases, 2)})
    agree, false_positives, false_negatives = figures["all"]["math"]
    assert figures["all"]["n"] == agree + false_positives + false_negatives == 1748
    assert false_positives <= 5
    assert false_negatives <= 70
