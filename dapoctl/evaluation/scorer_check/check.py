"""Scorers over labelled cases: a confusion table each, exploits that pass, and forms of right answers that are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dapoctl.evaluation.scorer_check.cases import Case

Judge = Callable[[Case], str]
"""The outcome of a case: right, wrong, unanswered, timeout, error"""


@dataclass(frozen=True)
class Checked:
    """What a scorer made of the cases."""

    scorer: str
    taken: int
    """Right answers that it calls right"""
    refused: Mapping[str, int]
    """Right answers that it does not, by how they are written"""
    wrong_taken: Mapping[str, int]
    """Wrong answers that it calls right, by how they were made"""
    wrong: int
    """Wrong answers in all"""
    exploits: Mapping[str, int]
    """Exploits that pass, by kind"""
    tried: Mapping[str, int]
    """Exploits in all, by kind"""
    failures: int
    """Cases in which it ran out of time or raised"""

    @property
    def recall(self) -> float:
        """Of right answers, the share that it takes."""
        right = self.taken + sum(self.refused.values())
        return self.taken / right if right else float("nan")

    @property
    def false_positives(self) -> float:
        """Of wrong answers, the share that it takes."""
        return sum(self.wrong_taken.values()) / self.wrong if self.wrong else float("nan")

    @property
    def exploited(self) -> float:
        """Of exploits, the share that passes."""
        tried = sum(self.tried.values())
        return sum(self.exploits.values()) / tried if tried else float("nan")


def check(scorer: str, judge: Judge, cases: Sequence[Case], workers: int = 1) -> Checked:
    """Judge every case."""
    with ThreadPoolExecutor(workers) as threads:
        outcomes = [*threads.map(judge, cases)]
    pairs = [*zip(cases, outcomes, strict=True)]

    def kinds(wanted: Callable[[Case, bool], bool]) -> Mapping[str, int]:
        return Counter(case.kind for case, outcome in pairs if wanted(case, outcome == "right"))

    return Checked(
        scorer,
        taken=sum(kinds(lambda case, accepted: case.right and accepted).values()),
        refused=kinds(lambda case, accepted: case.right and not accepted),
        wrong_taken=kinds(lambda case, accepted: not case.right and not case.exploit and accepted),
        wrong=sum(not case.right and not case.exploit for case in cases),
        exploits=kinds(lambda case, accepted: case.exploit and accepted),
        tried=kinds(lambda case, _accepted: case.exploit),
        failures=sum(outcome in ("timeout", "error") for outcome in outcomes),
    )
