"""Twins of a problem: the same question with other numbers, its answer computed again.

A model that learned to solve a set solves its twins; one that remembers the answers does not (compare GSM-Symbolic,
arXiv:2410.05229, whose templates were written by hand). A twin is made only where the set says how the answer comes from the
question's numbers, and only where it is clear which number of the question each number in these equations is. What is left
out so is in the count.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from dapoctl.evaluation.contamination.equations import Equation, changed, equations_of, number, terms
from dapoctl.evaluation.contamination.numbers import WORDS, Found, implied, numbers, rewritten
from dapoctl.tasks.problem_sets import question_of

if TYPE_CHECKING:
    from dapoctl.batch import Problem

FORMULAS = ("formula", "Formula", "equation", "Equation", "solution")
"""Fields that may hold a problem's equations, in the order in which they are tried"""
_CONSTANTS = frozenset(
    map(Fraction, "0 1 2 3 4 5 7 10 12 24 25 30 52 60 100 365 1000 0.5 0.25 0.1 0.01".split())  # noqa: SIM905
)
"""Numbers that equations may have without the question saying so"""
_SMALL = 12
_DRAWS = 300
_WORD_VALUES = frozenset(Fraction(value) for value in WORDS.values())


@dataclass(frozen=True, slots=True)
class Twin:
    """A question with other numbers."""

    question: str
    answer: str
    numbers: Mapping[str, str]
    """Old numbers and new ones"""


def twin(question: str, answer: str, row: Mapping[str, Any], seed: object, formula: str = "") -> Twin | str:
    """A twin of the problem, or why it has none.

    Args:
        question: without the prompt around it
        answer: the final answer alone
        row: the problem's other fields, one of which has its equations: `formula`, else the first of `FORMULAS` that has
        seed: the twin is a function of it and of the question
    """
    fields = [formula] if formula else FORMULAS
    texts = [row[field] for field in fields if isinstance(row.get(field), str)]
    equations = next(filter(None, (equations_of(text, answer) for text in texts)), [])
    if not equations:
        return "no equations that give its answer"
    found = numbers(question)
    free = _free(equations, found, implied(question))
    if isinstance(free, str):
        return free
    draw = random.Random(f"{seed}/{question}")
    for _ in range(_DRAWS):
        new = {value: _other(draw, value, [each for each in found if each.value == value]) for value in free}
        if _same_kind(new, {each.value for each in found}) and (result := _computed(equations, new)) is not None:
            written = _like(answer, result)
            if written is not None:
                pairs = {_short(old): _short(value) for old, value in sorted(new.items())}
                return Twin(rewritten(question, new), written, pairs)
    return "no other numbers found that keep each step whole and positive"


def twins_of(problems: Sequence[Problem], seed: object, formula: str = "") -> tuple[dict[str, Twin], Counter[str]]:
    """(the twin of each problem that has one, by id; how many have none, by reason)."""
    found: dict[str, Twin] = {}
    reasons: Counter[str] = Counter()
    for problem in problems:
        made = twin(question_of(problem), problem.answer, problem.meta, seed, formula)
        if isinstance(made, str):
            reasons[made] += 1
        else:
            found[problem.id] = made
    return found, reasons


def _free(equations: Sequence[Equation], found: Sequence[Found], hidden: set[Fraction]) -> list[Fraction] | str:
    """The numbers of the question that can be changed, or why that is not clear."""
    stated, results, free = {each.value for each in found}, set[Fraction](), set[Fraction]()
    fixed: set[Fraction] = set()
    for equation in equations:
        for literal in equation.literals:
            if literal in stated and (literal in results or literal in hidden or literal == 0):
                return "a number in its equations can be two things"
            (free if literal in stated else fixed).add(literal)
        if equation.result in results:
            return "two steps have the same result"
        results.add(equation.result)
    fixed -= results
    free.discard(Fraction(1))
    if not free:
        return "none of its numbers is in its equations"
    written = Counter(literal for equation in equations for literal in equation.literals)
    said = Counter(each.value for each in found)
    # A small number that the equations have more often than the question may be another one there: 2 for an average of two.
    if any(said[value] > written[value] or (value <= _SMALL and said[value] < written[value]) for value in free):
        return "a number in its equations can be two things"
    if free & {Fraction(terms(equation.expression)) for equation in equations} - {Fraction(2)}:
        return "one of its numbers may count the terms of a sum"
    if fixed - _CONSTANTS:
        return "its equations have numbers that the question does not state"
    near = {other for value in free for other in (value - 1, value + 1, 100 - value, value / 100, 1 / value)}
    if fixed & near - {Fraction(1), Fraction(2)}:
        return "its equations may have a number that was computed in the head"
    return sorted(free)


def _other(draw: random.Random, value: Fraction, places: Sequence[Found]) -> Fraction:
    """Another value of about the same size, as round as the old one, that can be written in its place."""
    if any(each.word for each in places):
        return draw.choice(sorted(other for other in _WORD_VALUES if value / 3 <= other <= max(Fraction(4), 3 * value)))
    unit = Fraction(1, 10 ** max(each.places for each in places))
    while value % (unit * 10) == 0 and value >= unit * 20:
        unit *= 10
    low, high = max(value / 2, 2 * unit if unit >= 1 else unit), value * 2
    if any(each.percent for each in places):
        high = min(high, Fraction(95)) if value < 100 else high
    steps = max(0, int((high - low) / unit))
    rounded = -(-low // unit) * unit
    return rounded + draw.randint(0, steps) * unit


def _same_kind(new: Mapping[Fraction, Fraction], stated: set[Fraction]) -> bool:
    """Every number is a new one, in the order of size of the old ones."""
    if any(old == value for old, value in new.items()):
        return False
    order = [new.get(old, old) for old in sorted(stated)]
    return all(low < high for low, high in itertools.pairwise(order))


def _computed(equations: Sequence[Equation], new: Mapping[Fraction, Fraction]) -> Fraction | None:
    """The new answer; None where a step is no longer whole or positive as it was, or the answer stays the same."""
    try:
        before, after = changed(equations, {}), changed(equations, new)
    except ZeroDivisionError:
        return None
    for old, value in zip(_flat(before), _flat(after), strict=True):
        whole_before, whole_after = old.denominator == 1, value.denominator == 1
        if (whole_before and not whole_after) or (old > 0) != (value > 0):
            return None
    return after[-1][-1] if after[-1][-1] != before[-1][-1] else None


def _flat(steps: Sequence[Sequence[Fraction]]) -> Iterator[Fraction]:
    for step in steps:
        yield from step


def _like(answer: str, value: Fraction) -> str | None:
    """`value` as the old answer is written; None where it takes more decimals."""
    old = number(answer)
    assert old is not None
    decimals = len(answer.strip().partition(".")[2])
    scaled = value * 10**decimals
    if scaled.denominator != 1:
        return None
    return f"{float(value):.{decimals}f}" if decimals else str(int(value))


def _short(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):g}"
