"""Scoring: the verifier's verdict on every response, while others are still being generated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dapoctl.batch import Problem, Score
from dapoctl.errors import HookError

if TYPE_CHECKING:
    from dapoctl.components.pipeline import Pipeline
    from dapoctl.engines import Completion, Engine, Sampling

MAX_SCORING_THREADS = 8


class Scoring(contextlib.ExitStack[None]):
    """Verdicts on the responses to `problems`, several under way at once, in threads that end with the block.

    The result does not depend on when a group was finished, nor on whether the engine reports it.
    """

    def __init__(self, pipeline: Pipeline, problems: Sequence[Problem], decode: Callable[[Sequence[int]], str]) -> None:
        self._pipeline = pipeline
        self._problems = problems
        self._decode = decode
        super().__init__()
        self._threads = ThreadPoolExecutor(MAX_SCORING_THREADS, "scoring")
        self.callback(self._threads.shutdown, cancel_futures=True)
        self._groups: dict[int, list[tuple[str, Future[Score]]]] = {}
        self._failed: Exception | None = None

    def generate(
        self, engine: Engine, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int
    ) -> list[list[Completion]]:
        """`n` completions for the prompt of each problem; each group is scored as soon as the engine reports it.

        Raises:
            HookError: the verifier failed on a group while others were being generated; these are abandoned.
        """
        if not hasattr(engine, "finished"):
            return engine.generate(prompt_ids, sampling, n)
        before, engine.finished = engine.finished, self._finished
        try:
            return engine.generate(prompt_ids, sampling, n)
        finally:
            engine.finished = before

    def result(self, completions: Sequence[Sequence[Completion]]) -> tuple[list[str], list[Score]]:
        """Texts and verdicts of all groups, flat and in order, once the last verdict has arrived.

        Raises:
            HookError: the verifier raised, or returned something other than a `Score`.
        """
        for index, group in enumerate(completions):
            if index not in self._groups:
                self._submit(index, group)
        pairs = [pair for index in range(len(completions)) for pair in self._groups[index]]
        return [text for text, _ in pairs], [verdict.result() for _, verdict in pairs]

    def _finished(self, index: int, group: Sequence[Completion]) -> None:
        if self._failed is not None:
            raise self._failed
        self._submit(index, group)

    def _submit(self, index: int, group: Sequence[Completion]) -> None:
        texts = [self._decode(completion.token_ids) for completion in group]
        problem = self._problems[index]
        self._groups[index] = [(text, self._threads.submit(self._score, problem, text)) for text in texts]

    def _score(self, problem: Problem, text: str) -> Score:
        try:
            verdict: Any = self._pipeline.one("score_response", problem=problem, text=text)
            if not isinstance(verdict, Score):
                raise self._broken(f"returned {type(verdict).__name__}, not a Score")
            if not hasattr(verdict.value, "__float__"):
                raise self._broken(f"returned a Score whose `value` is {verdict.value!r}; it must be a number")
        except Exception as error:
            self._failed = self._failed or error
            raise
        return verdict

    def _broken(self, how: str) -> HookError:
        (name,) = self._pipeline.providers("score_response")
        return HookError(f"component `{name}`, hook `score_response` {how}")
