"""What counts as a response's answer, and which answers are right, to `math` and to `math_lenient`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from dapoctl.tasks import answers
from dapoctl.tasks.meaning import Meaning
from dapoctl.tasks.verify import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=[Meaning, Verifier], ids=["math", "math_lenient"])
def verifier(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    pool: Verifier = request.param(workers=2, limit_s=10)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        # The five honest forms that the public DAPO scorer refuses, and the four that it accepts.
        ("**Answer:** 540", "540"),
        ("**Answer: 540**", "540"),
        ("Answer: 540.", "540"),
        ("Answer: \\(540\\)", "540"),
        ("Answer: 033", "33"),
        ("Answer: $\\boxed{540}$", "540"),
        ("Answer: x = 540", "540"),
        ("Answer: 540 square units", "540"),
        ("Answer: 5,40", "540"),
        ("Answer: 541\nNo, again.\n### Final Answer: `540`", "540"),
        ("Answer:\n\n$$\n540\n$$", "540"),
        ("Answer: The area is $540$ cm.", "540"),
        ("Answer: the result is \\boxed{540}.", "540"),
        ("so \\boxed{541}, or rather \\boxed{\\frac{1080}{2}}", "540"),
        ("Answer: 1{,}234", "1,234"),
        ("Answer: \\$18.00", "18"),
        ("Answer: $2.50", "2.50"),
        ("Answer: 18.5 dollars", "18.5"),
        ("Answer: 0.5", "\\frac{1}{2}"),
        ("Answer: Evelyn", "\\text{Evelyn}"),
        ("Answer: C", "\\text{(C)}"),
        ("Answer: 3, 5 and 7", "3, 5, 7"),
        ("Answer: $x=3$ or $x=5$", "3, 5"),
        ("Answer: 32348", "\\$32,\\!348"),
        ("Answer: [-2,7]", "x \\in [-2,7]"),
        ("Answer: " + "7" * 2500, "7" * 2500),
    ],
)
def test_right(verifier: Verifier, text: str, gold: str) -> None:
    assert verifier.verify(text, gold).outcome == "right"


def test_what_no_mark_says_counts_for_the_lenient_rule_alone(verifier: Verifier) -> None:
    outcome = "unanswered" if isinstance(verifier, Meaning) else "right"
    assert verifier.verify("so it must be 540", "540").outcome == outcome


@pytest.mark.parametrize(
    "answer",
    [
        "540 or 541=540",
        "541 or 540",
        "541=540",
        "541 = x = 540",
        "541=542=540",
        "541, 540",
        "540 and 541",
        "$541$ or $540$",
        "$541$ $540$",
        "\\(541\\), \\(540\\)",
        "\\boxed{541} or \\boxed{540}",
        "541 \\foo{ 540",
        "541 & 540",
        "541 -> 540",
        "541 maybe 540",
        "540 million",
        "540!",
        "-540",
        "5, 40",
        "54",
        "\\text{541 or 540}",
    ],
)
def test_wrong(verifier: Verifier, answer: str) -> None:
    assert verifier.verify(f"It could be 540.\nAnswer: {answer}", "540").outcome == "wrong"


@pytest.mark.parametrize("text", ["", "I do not know.", "Answer:", "Answer: **", "\n\n", "\\boxed{}"])
def test_unanswered(verifier: Verifier, text: str) -> None:
    assert verifier.verify(text, "540").outcome == "unanswered"


def test_only_the_tail_counts() -> None:
    assert answers.extract("Answer: 5" + " " * answers.TAIL) is None
    assert answers.extract("z" * 10_000_000 + "\nAnswer: 5") == "5"


@pytest.mark.parametrize("rule", [Meaning, Verifier])
def test_plain_integers_need_no_worker(rule: type[Verifier]) -> None:
    pool = rule(workers=1)
    assert pool.verify("Answer: 42", "42").outcome == "right"
    assert pool.verify("\\boxed{1,234}", "1234").outcome == "right"
    assert pool.verify("Answer: 43", "42").outcome == "wrong"
    assert pool.verify("no idea", "42").outcome == "unanswered"
    assert pool.pids() == []
    pool.close()


@pytest.mark.parametrize(
    "answer", ["540.0", "\\frac{1080}{2}", "540^1", "540\\%", "540 m n", "5e2", "(540)", "5, 400", "\u0665\u0664\u0660"]
)
def test_text_alone_does_not_decide(answer: str) -> None:
    assert answers.decide(answer, "540") is None


def test_fast_path_agrees_with_math_verify(verifier: Verifier) -> None:
    rng = random.Random(0)
    for _ in range(40):
        gold, other = rng.randrange(-1200, 12000), rng.randrange(-1200, 12000)
        for value in (gold, other):
            for answer in (f"{value}", f"x = {value}", f"{value:,}"):
                quick = answers.decide(answer, str(gold))
                slow = verifier.ask(answer, str(gold), marked=True).outcome
                assert (quick, slow) in ((True, "right"), (False, "wrong")), (answer, gold)
