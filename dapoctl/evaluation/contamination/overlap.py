"""Problems of an evaluation set that are in the training data.

Two texts count as the same if they are equal up to case, punctuation and white space, or if they share 13 words in a row, the
measure of GPT-3 (Brown et al. 2020, arXiv:2005.14165, appendix C). Rewritten and translated problems are not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dapoctl.tasks.problem_sets import question_of

if TYPE_CHECKING:
    from dapoctl.batch import Problem

WORDS = 13
"""Words in a row that two problems share"""
SHOWN = 3
"""Problems that a message names"""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Problems of an evaluation set, by id, that training data have too."""

    equal: tuple[str, ...]
    """With the same text"""
    similar: tuple[str, ...]
    """With 13 words in a row of some training problem, and another text"""
    problems: int
    """Of the whole set"""

    def words(self, label: str) -> str:
        """A sentence on the set called `label`; empty without overlap."""
        parts = [
            f"{len(names)} {how} ({_named(names)})"
            for names, how in ((self.equal, "word for word"), (self.similar, f"with {WORDS} words in a row"))
            if names
        ]
        if not parts:
            return ""
        return (
            f"`{label}`: {len(self.equal) + len(self.similar)} of {self.problems} problems are in the training data,"
            f" {' and '.join(parts)}: its results count what was trained on. `eval.decontaminate = true` takes them out of the"
            " training data; or report another set"
        )


class _Index:
    """The texts of held-out problems, to look others up in."""

    def __init__(self, held_out: Sequence[Problem]) -> None:
        self._whole: dict[tuple[str, ...], list[str]] = {}
        self._runs: dict[tuple[str, ...], list[str]] = {}
        for problem in held_out:
            words = _words(problem)
            self._whole.setdefault(tuple(words), []).append(problem.id)
            for run in _runs(problem, words):
                self._runs.setdefault(run, []).append(problem.id)

    def look(self, problem: Problem) -> tuple[set[str], set[str]]:
        """Held-out problems (with the same text, with 13 words in a row of it)."""
        words = _words(problem)
        runs = self._runs.keys() & _runs(problem, words)
        return {*self._whole.get(tuple(words), ())}, {name for run in runs for name in self._runs[run]}


def overlap(training: Iterable[Problem], held_out: Sequence[Problem]) -> Overlap:
    """Which of the `held_out` problems the training problems have too."""
    index, equal, similar = _Index(held_out), set[str](), set[str]()
    for problem in training:
        same, near = index.look(problem)
        equal |= same
        similar |= near
    return Overlap(tuple(sorted(equal)), tuple(sorted(similar - equal)), len(held_out))


def without(training: Iterable[Problem], held_out: Sequence[Problem]) -> list[Problem]:
    """The training problems that none of the `held_out` ones has too."""
    index = _Index(held_out)
    return [problem for problem in training if not any(index.look(problem))]


def repeated_words(names: Sequence[str], label: str) -> str:
    """A sentence on the problems called `names`, which repeat another's question, in the set called `label`."""
    many = "1 problem repeats" if len(names) == 1 else f"{len(names)} problems repeat"
    return (
        f"`{label}`: {many} the question of another ({_named(names)}): they are counted as independent problems, so that"
        " intervals and p are too small"
    )


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"


def _words(problem: Problem) -> list[str]:
    # Signs are words of their own in mathematics: without them, x + 1 and x - 1 were the same.
    return re.findall(r"\w+|[^\w\s.,;:!?$]", question_of(problem).lower())


def _runs(problem: Problem, words: Sequence[str]) -> set[tuple[str, ...]]:
    """Every 13 words in a row; none of a problem whose question is not known apart from the prompt, which all share."""
    if not isinstance(problem.meta.get("problem"), str):
        return set()
    return {tuple(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}
