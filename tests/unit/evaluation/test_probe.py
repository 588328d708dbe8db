"""The completion probe: what is given, what counts as completed, and that one who recites is found."""

from __future__ import annotations

import random
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from dapoctl.batch import Problem
from dapoctl.engines import Completion
from dapoctl.errors import DataError
from dapoctl.evaluation.contamination import probe as module
from dapoctl.evaluation.contamination.probe import Completed, cut, probe, rouge_l
from dapoctl.views.probe import page, values

SONG = "twelve small boats go down a wide river and each of them carries nine boxes of tea to the old harbour by night"


def test_a_question_is_cut_between_words() -> None:
    assert cut("a b  c\nd e", 0.6) == ("a b  c", "\nd e")
    assert cut("one", 0.5) == ("one", "")
    assert cut("", 0.5) == ("", "")


def test_rouge_l_is_that_of_the_longest_common_subsequence() -> None:
    def by_hand(one: tuple[str, ...], other: tuple[str, ...]) -> int:
        @cache
        def longest(i: int, j: int) -> int:
            if i == len(one) or j == len(other):
                return 0
            if one[i] == other[j]:
                return 1 + longest(i + 1, j + 1)
            return max(longest(i + 1, j), longest(i, j + 1))

        return longest(0, 0)

    draw = random.Random(0)
    for _ in range(50):
        one, other = (tuple(draw.choices("abcd", k=draw.randint(1, 9))) for _ in range(2))
        expected = 2 * by_hand(one, other) / (len(one) + len(other))
        assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(expected)
    # Of the package rouge-score 0.1.2: rougeL's f-measure of these two.
    assert rouge_l("The quick brown fox jumps over 3 dogs.", "the brown dogs, over 3 quick foxes") == pytest.approx(
        8 / 15
    )
    assert rouge_l("", "") == 0


class Reciter:
    """An engine that knows one song by heart, and otherwise says nothing of use."""

    def generate(self, prompt_ids: Any, sampling: Any, n: int) -> list[list[Completion]]:
        assert (sampling.temperature, n) == (0.0, 1)
        answers = []
        for ids in prompt_ids:
            text = "".join(map(chr, ids))
            rest = SONG.removeprefix(text) + " and more" if SONG.startswith(text) else " no idea"
            answers.append([Completion(tuple(map(ord, rest[: sampling.max_tokens])), (), "length")])
        return answers

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Any:
    policy = SimpleNamespace(
        encode_text=lambda text: [*map(ord, text)], decode=lambda ids: "".join(map(chr, ids)), max_positions=400
    )
    monkeypatch.setattr("dapoctl.models.loading.load_policy", lambda _config, _weights: policy)
    monkeypatch.setattr(module, "start_engine", lambda *_: Reciter())
    return SimpleNamespace(config=None, weights=None, model="m")


def problem(name: str, text: str) -> Problem:
    return Problem(name, f"Solve this: {text}", "7", {"problem": text})


def test_one_who_recites_is_found(target: Any) -> None:
    other = (
        "how many of the nine grey ships that left the harbour in the spring came home again before the first snow fell"
    )
    problems = [
        problem("known", SONG),
        problem("other", other),
        problem("short", "how many?"),
        problem("long", "a " * 300),
    ]
    found = probe(target, problems, 0.6, lambda *_: None)
    assert found.exact == ["known"]
    assert (len(found.completed), found.left_out) == (2, 2)
    assert 0.4 < found.rouge_l < 0.6
    shown = "\n".join(page({"set": "s", "model": "m", "step": 0, "share": 0.6}, found))
    assert "1 of 2, 50.0% [1.3%, 98.7%]" in shown
    assert "such as                  tea to the old harbour by night" not in shown
    assert values(found)["exact_share"] == 0.5


def test_what_says_nothing_is_refused(target: Any) -> None:
    with pytest.raises(DataError, match="none of the 1 questions has 8 words after the first 60%"):
        probe(target, [problem("short", "how many?")], 0.6, lambda *_: None)
    with pytest.raises(DataError, match="fits the 400 positions"):
        probe(target, [problem("long", "word " * 200)], 0.6, lambda *_: None)


def test_white_space_is_not_counted() -> None:
    assert Completed("a", "to  the\nharbour", "to the harbour").exact
    assert not Completed("a", "to the harbour", "to the").exact


def test_text_is_encoded_without_the_template() -> None:
    from dapoctl.config.resolve import load
    from dapoctl.models.loading import load_policy

    policy = load_policy(load([], []).config)
    bos = policy.tokenizer.bos_token_id
    plain = policy.tokenizer("12+34", add_special_tokens=False).input_ids
    assert policy.encode_text("12+34") == ([] if bos is None else [bos]) + plain
