"""The task's scores, with as many responses in flight at once as in a run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dapoctl import Problem
from dapoctl.components.pipeline import Pipeline

THREADS = 8


def verify(pipeline: Pipeline, problems: Sequence[Problem], texts: Sequence[str]) -> list[float]:
    """The score of each text as an answer to the problem at the same index."""

    def one(problem: Problem, text: str) -> float:
        return float(pipeline.one("score_response", problem=problem, text=text).value)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(one, problems, texts))
