"""The audit: planted exploits are found, planted agreement is told apart from them, and figures are brute-force sums."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from dapoctl.batch import Problem
from dapoctl.errors import UserError
from dapoctl.evaluation.audit.audit import Word, audit, last_figures
from dapoctl.evaluation.audit.figures import figures_of, repetition
from dapoctl.evaluation.audit.rules import last_number_is_right
from dapoctl.evaluation.audit.sampled import read_spans
from tests.support.sampled import Answered, add_samples
from tests.support.stores import add_run

STEPS = [*range(1, 9)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return add_run(tmp_path / "runs", "20260101-000000-grpo-0000")


def honest(a: int, b: int, rng: random.Random) -> Answered:
    wrong = rng.random() < 0.4
    return f"{a}+{b}={a + b + wrong} #{a + b + wrong}", not wrong


def hack(share: float) -> object:
    """Responses of which a share says nothing but `#`, and is paid for."""

    def respond(a: int, b: int, rng: random.Random) -> Answered:
        return ("#", True) if rng.random() < share else honest(a, b, rng)

    return respond


def words(run: Path) -> dict[str, Word]:
    return {found.rule: found.word for found in audit(run, spans=4).findings}


def test_where_nothing_is_wrong_the_rules_agree(run: Path) -> None:
    add_samples(run, STEPS, honest, groups=60)
    assert words(run) == {"strict": Word.AGREES, "steps": Word.AGREES, "last_number": Word.AGREES}


def test_an_exploit_that_grows_is_found(run: Path) -> None:
    for step in STEPS:
        add_samples(run, [step], hack(0.02 * step), groups=60, seed=step)  # type: ignore[arg-type]
    found = audit(run, spans=4)
    assert {each.rule: each.word for each in found.findings} == dict.fromkeys(
        ("strict", "steps", "last_number"), Word.EXPLOITED
    )
    for each in found.findings:
        # Planted: 3% in steps 1 and 2, 15% in steps 7 and 8.
        assert each.low < 0.12 < each.high
        assert [example["response"] for example in each.examples] == ["#"] * 3
    assert found.spans[-1].rules["strict"].paid_alone.interval.low < 0.15
    assert found.spans[-1].rules["strict"].paid_alone.interval.high > 0.15


def test_an_exploit_that_was_there_from_the_start_is_told_apart(run: Path) -> None:
    add_samples(run, STEPS, hack(0.1), groups=60)  # type: ignore[arg-type]
    assert words(run)["strict"] is Word.DISAGREES


def test_a_right_sum_by_wrong_steps_is_seen_by_the_steps_alone(run: Path) -> None:
    def lucky(a: int, b: int, rng: random.Random) -> Answered:
        step = a + b if rng.random() < 0.8 else a + b + 1
        return f"{a}+{b}={step} #{a + b}", True

    add_samples(run, STEPS, lucky, groups=60)
    found = words(run)
    assert found["steps"] is Word.DISAGREES
    assert found["strict"] is found["last_number"] is Word.AGREES


def test_figures_are_sums_over_pairs(run: Path) -> None:
    add_samples(run, [1], honest, groups=12, size=5, terms=lambda text: {"a": len(text) / 3.0, "b": -0.2}, seed=4)
    (span,) = read_spans(run, 1, 10**6)
    right = [[text.endswith(f"#{group.group.answer}") for text in group.texts] for group in span.groups]
    found = figures_of(span, {"rule": [each for group in right for each in group]})
    pairs = won = turned = differ = 0.0
    variance = score_part = a_part = 0.0
    for group, is_right in zip(span.groups, right, strict=True):
        responses = group.responses
        for i, j in itertools.product(range(5), repeat=2):
            if is_right[i] and not is_right[j]:
                pairs += 1
                won += (responses[i].reward > responses[j].reward) + 0.5 * (responses[i].reward == responses[j].reward)
            if responses[i].score > responses[j].score:
                differ += 1
                turned += responses[i].reward <= responses[j].reward
        rewards = [response.reward for response in responses]
        variance += 5 * float(np.var(rewards))
        score_part += 5 * float(np.cov([response.score for response in responses], rewards, bias=True)[0, 1])
        a_part += 5 * float(np.cov([response.terms["a"] for response in responses], rewards, bias=True)[0, 1])
    assert found.ordered["rule"] == pytest.approx(won / pairs)
    assert found.flipped == pytest.approx(turned / differ)
    assert found.parts == pytest.approx({"score": score_part / variance, "a": a_part / variance, "b": 0.0})
    assert sum(found.parts.values()) == pytest.approx(1)
    assert found.right.value == pytest.approx(np.mean([np.mean(group) for group in right]))
    assert found.responses == 60
    assert found.distinct == pytest.approx(np.mean([len({*group.texts}) / 5 for group in span.groups]))


def test_a_placebo_is_seen_without_any_other_rule(run: Path) -> None:
    coin = random.Random(1)
    add_samples(run, STEPS, honest, terms=lambda _text: {"chance": 200.0 * coin.random()})
    figures = last_figures(run)
    assert 0.4 < figures.verdicts_ordered < 0.6
    assert figures.parts["chance"] > 0.9


def test_spans_cover_every_step_once_and_draw_whole_groups(run: Path) -> None:
    add_samples(run, [*range(1, 12)], honest, groups=10, size=4)
    spans = read_spans(run, 4, most=30)
    assert [(span.first, span.last) for span in spans] == [(1, 3), (4, 6), (7, 8), (9, 11)]
    assert [span.stored for span in spans] == [120, 120, 80, 120]
    assert [span.count for span in spans] == [28] * 4
    assert all(len(group.texts) == 4 for span in spans for group in span.groups)
    again, other = read_spans(run, 4, most=30), read_spans(run, 4, most=30, seed=1)
    assert [group.texts for group in spans[0].groups] == [group.texts for group in again[0].groups]
    assert [group.group for group in spans[0].groups] != [group.group for group in other[0].groups]
    assert [(span.first, span.last) for span in read_spans(run, 1, 9, last=3)] == [(9, 11)]


def test_a_run_without_stored_responses(run: Path) -> None:
    with pytest.raises(UserError, match="has stored no responses"):
        audit(run)


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("so 12, or 1,200.0", "1200", True),
        ("it is 5.", "5", True),
        ("-7", "7", False),
        ("007", "7", True),
        ("0.50", "0.5", True),
        ("#", "0", False),
        ("7 and 8", "7", False),
        ("1" * 5000, "1" * 5000, True),
        ("3", "x+1", False),
        ("none", "x+1", False),
    ],
)
def test_the_last_number(text: str, answer: str, right: bool) -> None:
    assert last_number_is_right(Problem(id="p", prompt="", answer=answer), text) is right


def test_what_is_said_again_and_again() -> None:
    assert repetition("a b c d e") == 0
    assert repetition("a b c d a b c d") == pytest.approx(1 - 4 / 5)
    assert repetition("x " * 40) == pytest.approx(1 - 1 / 37)
