"""Scoring beside generation: the same verdicts whenever a group is finished, errors that surface, nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from dapoctl import Component, Problem, Score, hookimpl
from dapoctl.engines import Completion, Sampling
from dapoctl.engines.hf import HfEngine
from dapoctl.engines.scoring import Scoring
from dapoctl.errors import HookError
from dapoctl.runs.interrupt import StopRequested
from dapoctl.training.learner import History, Learner
from dapoctl.training.rollout import sample
from tests.support.learners import make_learner

PROMPTS, SAMPLES, LONGEST = 6, 4, 48


class Judge(Component):
    """Right when the digits of the response have an even sum; notes what was judged."""

    @hookimpl
    def score_response(self, problem: Problem, text: str) -> Score:
        SEEN.append(problem.id)
        self.think(problem)
        right = sum(int(digit) for digit in text if digit.isdigit()) % 2 == 0
        return Score(1.0 if right else -1.0, right, text[:3])

    def think(self, problem: Problem) -> None:
        """What comes before a verdict."""


class Failing(Judge):
    """Fails on one problem."""

    def think(self, problem: Problem) -> None:
        if problem.id == "2":
            raise RuntimeError("no verdict today")


SEEN: list[str] = []
"""The problems of the responses that were judged, in the order of judging"""


class Silent:
    """The real engine, without the means to say what it has finished."""

    def __init__(self, engine: HfEngine) -> None:
        self.engine = engine

    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
        return self.engine.generate(prompt_ids, sampling, n)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        self.engine.load_weights(weights)

    def sleep(self) -> None:
        """As the real one."""

    def wake(self) -> None:
        """As the real one."""

    def close(self) -> None:
        """As the real one."""


class Backwards(Silent):
    """The real engine, which reports its groups last to first, all but one."""

    finished: Callable[[int, list[Completion]], None] = staticmethod(lambda _index, _group: None)

    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
        groups = super().generate(prompt_ids, sampling, n)
        for index in range(len(groups) - 1, 0, -1):
            self.finished(index, groups[index])
        return groups


def learner(judge: Component) -> Learner:
    found = make_learner(
        [], extra=[judge], rollout={"samples": SAMPLES, "max_prompt_tokens": 32, "max_response_tokens": LONGEST}
    )
    found.problems = [Problem(str(place), "9" * (1 + place % 3) + "+2=", "") for place in range(PROMPTS)]
    found.prompt_ids = [found.policy.encode(problem.prompt) for problem in found.problems]
    found.history = History.empty(PROMPTS)
    SEEN.clear()
    return found


def outcome(found: Learner) -> tuple[Any, ...]:
    """Everything that a round of sampling leaves, clocks left out."""
    batch = sample(found, 1, 0, PROMPTS)
    metrics = {name: value for name, value in found.metrics.result().items() if not name.startswith("time/")}
    tensors = (batch.response_ids, batch.rollout_logprobs, batch.scores, batch.correct)
    return batch.texts, batch.verdicts, [t.tolist() for t in tensors], found.history.state_dict(), metrics


def test_results_are_those_of_scoring_after_generating() -> None:
    results = []
    for wrap in (lambda engine: engine, Silent, Backwards):
        found = learner(Judge())
        found.engine = wrap(found.engine)
        results.append(outcome(found))
        assert sorted(SEEN) == sorted(str(p) for p in range(PROMPTS) for _ in range(SAMPLES))
        assert {"time/generate", "time/score"} <= found.metrics.result().keys()
    assert results[0] == results[1] == results[2]
    assert len({score.correct for score in results[0][1]}) == 2


@pytest.mark.parametrize("at_once", [256, 2 * SAMPLES])
def test_the_engine_reports_each_group_once_before_it_returns(at_once: int) -> None:
    found = learner(Judge())
    engine = HfEngine(found.policy, at_once)
    sampling = Sampling(LONGEST, seed=3)
    told: dict[int, list[Completion]] = {}
    drawn: list[int] = []
    progress: list[tuple[int, int]] = []

    def finished(index: int, group: list[Completion]) -> None:
        assert index not in told
        told[index] = group
        drawn.append(draws[0])

    draws = [0]
    head = found.policy.head.logits

    def counting(hidden: Tensor) -> Tensor:
        draws[0] += 1
        return head(hidden)

    found.policy.head.logits = counting  # type: ignore[method-assign]
    engine.finished = finished
    engine.progress = lambda done, total: progress.append((done, total))
    returned = engine.generate(found.prompt_ids, sampling, SAMPLES)
    assert [told[index] for index in range(PROMPTS)] == returned
    assert progress == [(SAMPLES * (place + 1), PROMPTS * SAMPLES) for place in range(PROMPTS)]
    # A group is reported in the very pass that ends its last response, while others go on.
    lengths = [max(len(completion.token_ids) for completion in told[index]) for index in told]
    if at_once == 256:
        assert drawn == lengths
        assert drawn[0] < drawn[-1]


def test_groups_are_scored_while_others_are_generated() -> None:
    """The engine waits for the verdicts on what it has reported before it goes on: with scoring afterwards, for ever."""
    found = learner(Judge())

    class Waiting(Backwards):
        """Reports a group, then waits until it is scored."""

        def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
            groups = self.engine.generate(prompt_ids, sampling, n)
            for index, group in enumerate(groups):
                self.finished(index, group)
                deadline = time.monotonic() + 60
                while len(SEEN) < (index + 1) * n:
                    assert time.monotonic() < deadline, "nothing is scored before the engine returns"
                    time.sleep(0.001)
            return groups

    assert isinstance(found.engine, HfEngine)
    found.engine = Waiting(found.engine)
    assert len(sample(found, 1, 0, PROMPTS).verdicts) == PROMPTS * SAMPLES


def scoring_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("scoring")]


@pytest.mark.parametrize("wrap", [lambda engine: engine, Silent, Backwards], ids=["hf", "silent", "backwards"])
def test_a_failing_verifier_names_itself_and_ends_everything(wrap: Callable[[Any], Any]) -> None:
    found = learner(Failing())
    found.engine = wrap(found.engine)
    with pytest.raises(HookError, match=r"component `failing`, hook `score_response` raised RuntimeError: no verdict"):
        sample(found, 1, 0, PROMPTS)
    assert scoring_threads() == []
    assert not torch.is_inference_mode_enabled()


class Wordy(Judge):
    """Judges in words."""

    @hookimpl
    def score_response(self) -> Score:
        return Score("5", True)  # type: ignore[arg-type]


def test_a_score_in_words_names_the_verifier() -> None:
    with pytest.raises(HookError, match=r"component `wordy`.*`value` is '5'; it must be a number"):
        sample(learner(Wordy()), 1, 0, PROMPTS)


def test_a_failure_ends_generation_early() -> None:
    found = learner(Failing())
    reported = []

    class Endless(Silent):
        """Reports the same groups until it is stopped."""

        finished: Callable[[int, list[Completion]], None] = staticmethod(lambda _index, _group: None)

        def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
            groups = self.engine.generate(prompt_ids, sampling, n)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                for index, group in enumerate(groups):
                    reported.append(index)
                    self.finished(index, group)
                time.sleep(0.001)
            return groups

    assert isinstance(found.engine, HfEngine)
    found.engine = Endless(found.engine)
    with pytest.raises(HookError, match="no verdict today"):
        sample(found, 1, 0, PROMPTS)
    assert len(reported) >= 3


def test_a_stop_while_generating_leaves_no_thread_and_no_hook_behind() -> None:
    found = learner(Judge())
    engine = found.engine
    assert isinstance(engine, HfEngine)
    hook, shown = engine.finished, []

    def stop(done: int, total: int) -> None:
        shown.append((done, total))
        if len(shown) == 3:
            raise StopRequested

    engine.progress = stop
    with pytest.raises(StopRequested):
        sample(found, 1, 0, PROMPTS)
    assert len(shown) == 3
    assert scoring_threads() == []
    assert engine.finished is hook
    assert found.history.state_dict() == History.empty(PROMPTS).state_dict()
    engine.progress = lambda _done, _total: None
    assert len(sample(found, 1, 0, PROMPTS).verdicts) == PROMPTS * SAMPLES


def test_what_is_not_yet_scored_is_given_up_with_the_block() -> None:
    """A stop does not wait for a verifier's whole queue."""
    release = threading.Event()

    class Slow(Judge):
        """Judges once it is let."""

        def think(self, problem: Problem) -> None:
            assert release.wait(60), problem.id

    found = learner(Slow())
    group = [Completion([1, 2, 3], [0.0, 0.0, 0.0], "stop")] * 100
    scoring = Scoring(found.pipeline, found.problems, found.policy.decode)

    def stopped() -> None:
        with scoring:
            scoring._finished(0, group)
            release.set()
            raise StopRequested

    with pytest.raises(StopRequested):
        stopped()
    assert len(SEEN) < 100
    assert scoring_threads() == []
