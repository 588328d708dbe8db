"""Rules that judge a run's responses beside the one that it was trained with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from dapoctl.batch import Problem
from dapoctl.errors import DapoctlError
from dapoctl.evaluation.audit.sampled import SampledGroup
from dapoctl.evaluation.rescoring import LIMIT_S
from dapoctl.evaluation.run_sets import recorded_source
from dapoctl.evaluation.target import find_target
from dapoctl.runs.summary import read_record
from dapoctl.tasks.problem_sets import DATA_TASK
from dapoctl.tasks.scorers import SCORERS, build_scorer

Judge = Callable[[Problem, str], bool]
LAST_NUMBER = "last_number"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass
class Rules:
    """Judges by name, and what could not be had."""

    judges: Mapping[str, Judge]
    trained_by: str
    """The name of the rule that training used"""
    missing: str = ""
    """Why the task's own rules are not there; empty if they are, or there are none"""

    def verdicts(self, groups: Sequence[SampledGroup], workers: int) -> dict[str, list[bool]]:
        """Whether each response of `groups`, flat and in order, is right by each rule."""
        asked = [
            (Problem(id=each.group.problem, prompt=each.group.prompt, answer=each.group.answer), text)
            for each in groups
            for text in each.texts
        ]
        with ThreadPoolExecutor(workers) as threads:
            return {
                name: [*threads.map(lambda pair, judge=judge: bool(judge(*pair)), asked)]
                for name, judge in self.judges.items()
            }


@contextmanager
def rules_of(directory: Path, workers: int) -> Iterator[Rules]:
    """The rules for a run: those that its components give, the scorers of math problems, and the last number.

    Raises:
        UserError: the run has no readable record.
    """
    target = find_target(str(directory), directory.parent, step=0)
    record, missing = read_record(directory), ""
    judges: dict[str, Judge] = {}
    trained_by, closing = target.config.task, []
    try:
        source = recorded_source(target.config.task, target.config, record, {})
        if source is not None:
            trained_by = source.judged_by
            for component in source.pipeline.components.values():
                judges |= component.judges()
            closing.append(source.pipeline.close)
    except DapoctlError as error:
        missing = str(error)
    if target.config.task == DATA_TASK:
        for name in SCORERS:
            if name != trained_by:
                scorer = build_scorer(name, workers, LIMIT_S)
                closing.append(scorer.close)
                judges[name] = _judge_by(scorer.verify)
    judges.setdefault(LAST_NUMBER, last_number_is_right)
    try:
        yield Rules(judges, trained_by, missing)
    finally:
        for close in closing:
            close()


def _judge_by(verify: Callable[[str, str, str], object]) -> Judge:
    return lambda problem, text: getattr(verify(text, problem.answer, problem.prompt), "outcome", "") == "right"


def last_number_is_right(problem: Problem, text: str) -> bool:
    """Whether the last number in the response is the answer, wherever it stands."""
    found = NUMBER.findall(text)
    try:
        wanted = Decimal(problem.answer.replace(",", "").strip().rstrip("."))
    except InvalidOperation:
        return False
    return bool(found) and Decimal(found[-1].replace(",", "")) == wanted
