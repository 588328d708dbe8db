"""The embedded task: additions of whole numbers, made on the spot, with a held-out split."""

from __future__ import annotations

import random
import re
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from pydantic import Field

from dapoctl.batch import Problem, Score
from dapoctl.components.base import Component
from dapoctl.errors import DataError
from dapoctl.hookspecs import hookimpl

Split = Literal["train", "test"]

HELD_OUT = 8
"""One pair of operands in this many is held out."""
PATIENCE = 2000
"""Draws in a row without a new pair after which the pairs count as exhausted."""


class Arithmetic(Component):
    """Add two whole numbers of 1 to `max_digits` digits: the task that the shipped model `tiny` was made for.

    The lengths of both operands are drawn on their own, so hard and easy problems mix. Which split a pair belongs to is
    a property of the pair, not of the sizes asked for: no setting moves a held-out pair, or its swapped twin, into
    training.

    Example:
        >>> task = Arithmetic(train_size=2, test_size=2)
        >>> problem = task.load_problems("test")[0]
        >>> task.score_response(problem, f"worked steps #{problem.answer}").outcome
        'right'
    """

    max_digits: int = Field(4, ge=1, le=18)
    """Digits of the longest operand; `tiny` has seen up to 4."""
    train_size: int = Field(4096, ge=1, le=1_000_000)
    """Problems to train on, all different; fewer when there are not so many."""
    test_size: int = Field(256, ge=1, le=100_000)
    """Held-out problems, all different; fewer when there are not so many."""
    right: float = 1.0
    """Reward of a right answer."""
    wrong: float = -1.0
    """Reward of a wrong answer, or of none."""
    marker: str = Field("#", max_length=32)
    """What introduces the final answer; the last one in the response counts. Empty: the last number counts, wherever."""

    @hookimpl
    def load_problems(self, split: str) -> list[Problem]:
        """The problems of `split`: a longer list begins with the shorter one, on every machine.

        Raises:
            DataError: there is no such split.
        """
        if split not in ("train", "test"):
            raise DataError(f"arithmetic has no split `{split}`; it has `train` and `test`")
        size = self.train_size if split == "train" else self.test_size
        rng = random.Random(f"{split}/{self.max_digits}")
        pairs: dict[tuple[int, int], None] = {}
        idle = 0
        while len(pairs) < size and idle < PATIENCE:
            pair = draw_pair(rng, self.max_digits)
            idle += 1
            if pair not in pairs and split_of(*pair) == split:
                pairs[pair] = None
                idle = 0
        return [Problem(id=f"{a}+{b}", prompt=f"{a}+{b}=", answer=str(a + b)) for a, b in pairs]

    @hookimpl
    def score_response(self, problem: Problem, text: str) -> Score:
        """Right if the number after the last `marker` is the sum. Any text gets a verdict."""
        numbers = _final_number(self.marker).findall(text)
        if not numbers:
            return Score(self.wrong, correct=False, outcome="unanswered")
        # Compared as digits: int() refuses very long ones.
        extracted = numbers[-1]
        correct = (extracted.lstrip("0") or "0") == problem.answer
        return Score(
            self.right if correct else self.wrong,
            correct=correct,
            extracted=extracted,
            outcome="right" if correct else "wrong",
        )


def draw_pair(rng: random.Random, max_digits: int) -> tuple[int, int]:
    """Two operands, each of 1 to `max_digits` digits, every length equally likely."""

    def operand() -> int:
        digits = rng.randint(1, max_digits)
        return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)

    return operand(), operand()


def split_of(a: int, b: int) -> Split:
    """Where the pair belongs: held out if a hash of it says so, whichever way round it is written."""
    low, high = sorted((a, b))
    digest = blake2b(f"{low}+{high}".encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest) % HELD_OUT == 0 else "train"


@lru_cache(maxsize=16)
def _final_number(marker: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(marker)}[ \t]{{0,4}}(-?[0-9]+)" if marker else r"-?[0-9]+")
