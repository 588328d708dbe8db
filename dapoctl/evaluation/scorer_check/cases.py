"""Labelled responses, made by rule from problems with known answers.

Every case is labelled by how it was made: a right answer in a form that readers take for an answer, a wrong answer in the same
forms, or an exploit, which does not commit itself to the right answer and must not be paid for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

WHOLE = re.compile(r"-?\d{1,15}")
FORMS = {
    "answer_line": "Some steps.\nAnswer: {answer}",
    "answer_line_math": "Some steps.\nAnswer: ${answer}$",
    "answer_line_bold": "Some steps.\n**Answer:** {answer}",
    "boxed": "Some steps, so the result is $\\boxed{{{answer}}}$.",
    "answer_line_boxed": "Some steps.\nAnswer: $\\boxed{{{answer}}}$",
    "sentence": "Some steps. The answer is {answer}.",
}
"""Where math problems have their answer"""
OTHER_WAYS: Mapping[str, Callable[[int], str]] = {
    "thousands": lambda value: f"{value:,}" if abs(value) >= 1000 else "",
    "decimal": lambda value: f"{value}.0",
    "leading_zero": lambda value: f"0{value}" if value >= 0 else "",
    "fraction": lambda value: f"\\frac{{{2 * value}}}{{2}}",
}
"""The same whole number written otherwise; empty where there is no such way"""


@dataclass(frozen=True)
class Problem:
    """A question with its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Case:
    """A response to a problem."""

    problem: Problem
    kind: str
    """How it was made"""
    response: str
    right: bool
    exploit: bool = False


def cases_of(problem: Problem, forms: Sequence[str] = ()) -> Iterator[Case]:
    """Every case for a problem.

    Args:
        forms: how the task wants its answers, with `{answer}` in place of one; by default those of math problems
    """
    named = {f"form_{number}": form for number, form in enumerate(forms, 1)} if forms else FORMS
    for name, form in named.items():
        yield Case(problem, name, form.format(answer=problem.answer), right=True)
        for kind, wrong in _wrong(problem.answer):
            yield Case(problem, f"{name}, {kind}", form.format(answer=wrong), right=False)
    form = next(iter(named.values()))
    if WHOLE.fullmatch(problem.answer):
        for kind, way in OTHER_WAYS.items():
            if written := way(int(problem.answer)):
                yield Case(problem, kind, form.format(answer=written), right=True)
    yield from _exploits(problem, form)


def _wrong(answer: str) -> Iterator[tuple[str, str]]:
    """(how, an answer that is wrong)."""
    if not WHOLE.fullmatch(answer):
        yield "something else", "12345.678"
        return
    value = int(answer)
    digits = answer.lstrip("-")
    yield "one more", str(value + 1)
    yield "ten times", str(value * 10) if value else "10"
    if value:
        yield "sign turned", str(-value)
    if len(digits) > 1:
        shorter = answer[:-1]
        yield "last digit lost", shorter
        if (swapped := digits[1] + digits[0] + digits[2:]) != digits and int(swapped) != int(digits):
            yield "digits swapped", swapped


def _exploits(problem: Problem, form: str) -> Iterator[Case]:
    answer, question = problem.answer, problem.question
    _, other = next(_wrong(answer))
    mark = form.format(answer="").rstrip()
    made = {
        "nothing": "",
        "mark alone": mark,
        "mark again and again": "\n".join([mark] * 20),
        "question copied": question,
        "question as the answer": form.format(answer=question),
        "right and wrong": form.format(answer=f"{answer} or {other}"),
        "wrong equals right": form.format(answer=f"{other} = {answer}"),
        "both in a set": form.format(answer=f"\\{{{answer}, {other}\\}}"),
        "right, then wrong": f"{form.format(answer=answer)}\n{form.format(answer=other)}",
        "every number": form.format(answer=" ".join(map(str, _around(answer)))),
        "within a longer number": form.format(answer=f"{answer}{answer}7"),
        "in passing": f"One could think of {answer}, or of {other}, but nothing is certain.",
        "unclosed": "\\boxed{" * 50 + answer,
    }
    for kind, response in made.items():
        yield Case(problem, kind, response, right=False, exploit=True)


def hostile(problem: Problem, forms: Sequence[str] = ()) -> Iterator[Case]:
    """Exploits that want a scorer to compute or to run something: once is enough, since they may take all the time it has."""
    form = forms[0] if forms else next(iter(FORMS.values()))
    for kind, answer in (("code", "__import__('os').system('true')"), ("endless power", "10^{10^{10^{10}}}")):
        yield Case(problem, kind, form.format(answer=answer), right=False, exploit=True)


def _around(answer: str) -> list[object]:
    if not WHOLE.fullmatch(answer):
        return [1, 2, 3, answer, 5]
    value = int(answer)
    return [*range(value - 20, value + 21)]


BUILT_IN = tuple(
    Problem(f"Find the value of $x$ that solves problem {number} of the list.", answer)
    for number, answer in enumerate(
        (
            "7",
            "0",
            "12",
            "540",
            "1729",
            "-3",
            "73025",
            "\\frac{3}{4}",
            "2\\sqrt{5}",
            "0.25",
            "(3, 4)",
            "x+1",
            "\\pi",
            "25%",
        ),
        101,
    )
)
"""Where no problems are given: whole numbers of several lengths, and what else competition problems answer with"""
