"""The embedded task: additions of whole numbers, made on the spot, with a held-out split."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, Self

from pydantic import Field, model_validator

from dapoctl.batch import Problem, Score
from dapoctl.components.base import Component
from dapoctl.errors import DataError
from dapoctl.hookspecs import hookimpl
from dapoctl.tasks.arithmetic_steps import steps_are_right

Split = Literal["train", "test"]

HELD_OUT = 8
"""One sum in this many is held out."""
PATIENCE = 2000
"""Draws in a row without a new sum after which the sums count as exhausted."""


class Arithmetic(Component):
    """Add whole numbers of 1 to `max_digits` digits: the task that the shipped model `tiny` was made for.

    The lengths of the operands are drawn on their own, so hard and easy problems mix. Which split a sum belongs to is a
    property of its operands, not of the sizes asked for: no setting moves a held-out sum, in any order of its operands,
    into training.

    Example:
        >>> task = Arithmetic(train_size=2, test_size=2)
        >>> problem = task.load_problems("test")[0]
        >>> task.score_response(problem, f"worked steps #{problem.answer}").outcome
        'right'
    """

    max_digits: int = Field(4, ge=1, le=18)
    """Digits of the longest operand; `tiny` has seen up to 4."""
    min_digits: int = Field(1, ge=1, le=18)
    """Digits of the shortest operand."""
    operands: int = Field(2, ge=2, le=8)
    """How many numbers are added; `tiny` has seen 2."""
    swapped: bool = False
    """Whether the same sums are asked with their operands in the opposite order."""
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

    @model_validator(mode="after")
    def _check_digits(self) -> Self:
        if self.min_digits > self.max_digits:
            raise ValueError(f"`min_digits` = {self.min_digits} is above `max_digits` = {self.max_digits}")
        return self

    @hookimpl
    def load_problems(self, split: str) -> list[Problem]:
        """The problems of `split`: a longer list begins with the shorter one, on every machine.

        Raises:
            DataError: there is no such split.
        """
        if split not in ("train", "test"):
            raise DataError(f"arithmetic has no split `{split}`; it has `train` and `test`")
        size = self.train_size if split == "train" else self.test_size
        # With the defaults the seed is what it was before there were other parameters: the problems must not change.
        more = (self.min_digits, self.operands) if (self.min_digits, self.operands) != (1, 2) else ()
        rng = random.Random("/".join(map(str, (split, self.max_digits, *more))))
        sums: dict[tuple[int, ...], None] = {}
        idle = 0
        while len(sums) < size and idle < PATIENCE:
            numbers = draw(rng, self.min_digits, self.max_digits, self.operands)
            idle += 1
            if numbers not in sums and split_of(*numbers) == split:
                sums[numbers] = None
                idle = 0
        return [_problem(numbers[::-1] if self.swapped else numbers) for numbers in sums]

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

    def judges(self) -> Mapping[str, Callable[[Problem, str], bool]]:
        """`steps`: the sum and every step worked before it is right, digit by digit. `strict`: it is given once, at the end."""
        last = re.compile(rf"{re.escape(self.marker)}[ \t]{{0,4}}(-?[0-9]+)\s*\Z")

        def strict(problem: Problem, text: str) -> bool:
            found = last.search(text)
            once = not self.marker or text.count(self.marker) == 1
            return found is not None and once and (found[1].lstrip("0") or "0") == problem.answer

        def steps(problem: Problem, text: str) -> bool:
            correct = self.score_response(problem, text).correct
            numbers = [int(part) for part in problem.prompt.rstrip("=").split("+")]
            return correct and steps_are_right(numbers, text.rpartition(self.marker or "\n")[0] or text)

        return {"strict": strict, "steps": steps}


def _problem(numbers: Sequence[int]) -> Problem:
    text = "+".join(map(str, numbers))
    return Problem(id=text, prompt=f"{text}=", answer=str(sum(numbers)))


def draw(rng: random.Random, min_digits: int, max_digits: int, count: int) -> tuple[int, ...]:
    """`count` operands, each of `min_digits` to `max_digits` digits, every length equally likely."""

    def operand() -> int:
        digits = rng.randint(min_digits, max_digits)
        return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)

    return tuple(operand() for _ in range(count))


def split_of(*numbers: int) -> Split:
    """Where a sum belongs: held out if a hash of it says so, in whichever order it is written."""
    digest = blake2b("+".join(map(str, sorted(numbers))).encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest) % HELD_OUT == 0 else "train"


@lru_cache(maxsize=16)
def _final_number(marker: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(marker)}[ \t]{{0,4}}(-?[0-9]+)" if marker else r"-?[0-9]+")
