"""The working of an addition, judged step by step: sums can be right by accident, and by wrong steps that cancel out."""

from __future__ import annotations

import re
from collections.abc import Sequence

STEP = re.compile(r"(?P<summands>\d+(?:\+\d+)+)=(?P<sum>\d+)")
CHECK = "check"
"""Begins another pass over the same steps"""


def right_steps(numbers: Sequence[int]) -> list[tuple[list[int], int]]:
    """(summands, sum) of each column from the right: its digits, and the carry last where there is one."""
    digits = [str(number)[::-1] for number in numbers]
    steps, carry = [], 0
    for position in range(max(map(len, digits))):
        column = [int(text[position]) if position < len(text) else 0 for text in digits]
        summands = [*column, carry] if carry else column
        steps.append((summands, sum(summands)))
        carry = sum(summands) // 10
    return steps


def steps_are_right(numbers: Sequence[int], text: str) -> bool:
    """Whether `text` works through the columns of the sum of `numbers`, each once and right, in the order of the columns.

    The summands of a column may be in any order. What comes after `check` may repeat the steps from the first one on, and must
    be right as well. Anything else between the steps is wrong.
    """
    wanted = [(sorted(summands), total) for summands, total in right_steps(numbers)]
    first, *checks = text.split(CHECK)
    return _steps(first) == wanted and all(
        (found := _steps(again)) is not None and found == wanted[: len(found)] for again in checks
    )


def _steps(text: str) -> list[tuple[list[int], int]] | None:
    """The steps of a pass; None if there is anything else in it."""
    found = []
    for word in text.split():
        step = STEP.fullmatch(word)
        if step is None:
            return None
        found.append((sorted(map(int, step["summands"].split("+"))), int(step["sum"])))
    return found
