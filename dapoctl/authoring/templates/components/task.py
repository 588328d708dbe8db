"""Idea: a task, which is problems and a verifier of answers."""

from __future__ import annotations

import re

from dapoctl import Component, Problem, Score, UserError, hookimpl
from pydantic import Field


class Idea(Component):
    """Double a whole number, written as a sum: `21+21=`. The last number in the response is its answer."""

    largest: int = Field(999, ge=8)
    """The numbers 1 to `largest` are doubled; one in eight is held out."""
    near: float = Field(-0.5, ge=-1, le=1)
    """Reward of a wrong answer that has the right number of digits; a right one gets 1, any other -1."""

    @hookimpl
    def load_problems(self, split: str) -> list[Problem]:
        if split not in ("train", "test"):
            raise UserError(f"`{self.name}` has no split `{split}`; it has train and test")
        numbers = [n for n in range(1, self.largest + 1) if (n % 8 == 0) == (split == "test")]
        return [Problem(id=f"{n}+{n}", prompt=f"{n}+{n}=", answer=str(2 * n)) for n in numbers]

    @hookimpl
    def score_response(self, problem: Problem, text: str) -> Score:
        numbers = re.findall(r"[0-9]+", text)
        if not numbers:
            return Score(-1.0, correct=False, outcome="unanswered")
        extracted = numbers[-1]
        if extracted == problem.answer:
            return Score(1.0, correct=True, extracted=extracted, outcome="right")
        value = self.near if len(extracted) == len(problem.answer) else -1.0
        return Score(value, correct=False, extracted=extracted, outcome="wrong")
