"""Looking for groups that pass the filters: what is kept, what is discarded, and what happens when there are too few."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import PrivateAttr
from torch import Tensor

from dapoctl import Batch, Component, Problem, Score, Tokens, hookimpl
from dapoctl.errors import RunWarning
from dapoctl.training.checkpoint import read_state, restore, save
from dapoctl.training.learner import History, Learner, step_metrics
from dapoctl.training.metrics import Metrics
from dapoctl.training.response_rows import Sampled
from dapoctl.training.rollout import ExhaustedError, gather
from dapoctl.training.step import collect, learn
from tests.support.learners import make_learner
from tests.unit.training.test_gradient import full_logprobs

SAMPLES = 4
MIXED, FLAT = 2, 0
"""Right responses of a group that dynamic sampling keeps, and of one that it drops"""


class Scripted(Component):
    """Prompts in the order of the data; of each group's responses as many are right as the problem says."""

    _next: int = PrivateAttr(default=0)
    _judged: Counter[str] = PrivateAttr(default_factory=Counter)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @hookimpl
    def select_prompts(self, count: int) -> list[int]:
        first, self._next = self._next, self._next + count
        return list(range(first, self._next))

    @hookimpl
    def score_response(self, problem: Problem) -> Score:
        with self._lock:
            place = self._judged[problem.id] % SAMPLES
            self._judged[problem.id] += 1
        right = place < problem.meta["right"]
        return Score(1.0 if right else -1.0, right)

    def state_dict(self) -> dict[str, Any]:
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._next = state["next"]


def scripted(outcomes: list[int], prompts: int = 2, extra: tuple[Component, ...] = (), **plan: Any) -> Learner:
    """A learner on `tiny` whose n-th problem has `outcomes[n]` right responses, with dynamic sampling set by `plan`."""
    learner = make_learner(
        ["dynamic_sampling"],
        tables={"dynamic_sampling": plan},
        extra=[Scripted(), *extra],
        rollout={"prompts": prompts, "samples": SAMPLES, "max_prompt_tokens": 32, "max_response_tokens": 8},
    )
    learner.problems = [Problem(str(i), f"{i}+2=", "", {"right": right}) for i, right in enumerate(outcomes)]
    learner.prompt_ids = [learner.policy.encode(problem.prompt) for problem in learner.problems]
    learner.history = History.empty(len(outcomes))
    return learner


def begin(learner: Learner) -> None:
    """What the trainer does before each step."""
    learner.metrics, learner.default_metrics, learner.sampled = Metrics(), Metrics(), Sampled()
    learner.pipeline.attach(learner.metrics.add)


def step(learner: Learner, number: int) -> Batch | None:
    """One gathering, whose warnings are not the matter."""
    begin(learner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunWarning)
        return collect(learner, number)


def content(batch: Batch | None) -> tuple[list[str], list[int]] | None:
    """Which problems, and when they were sampled."""
    return None if batch is None else ([problem.id for problem in batch.problems], batch.born)


def fates(learner: Learner, batch: Batch | None) -> dict[str, str | None]:
    """Why each problem's responses were not trained on, as it is written to disk; None for those that were."""
    found: dict[str, str | None] = {}
    for row in learner.sampled.rows(batch):
        assert found.setdefault(row["problem"], row["dropped_by"]) == row["dropped_by"]
        assert (row["advantage"] is None) == (row["dropped_by"] is not None)
    return found


# on_exhausted


def test_error_ends_the_run_and_says_why() -> None:
    learner = scripted([MIXED, FLAT, FLAT, FLAT, FLAT, FLAT], on_exhausted="error", max_rounds=2)
    expected = r"step 3: 1 of 2 groups passed the filters in 2 rounds \(16 responses\).*on_exhausted = train_partial"
    with pytest.raises(ExhaustedError, match=expected):
        gather(learner, 3)


@pytest.mark.parametrize(("staleness", "kept"), [(0, False), (2, True)])
def test_skip_trains_on_nothing_that_is_not_a_full_batch(staleness: int, kept: bool) -> None:
    outcomes = [MIXED, FLAT, FLAT, FLAT, MIXED, FLAT, FLAT, FLAT]
    learner = scripted(outcomes, on_exhausted="skip", max_rounds=2, max_staleness=staleness)
    begin(learner)
    with pytest.warns(
        RunWarning, match=r"some steps found fewer than `rollout\.prompts` = 2 .*2 rounds and were skipped"
    ):
        assert collect(learner, 1) is None
    reason = "skipped step, kept for the next step" if kept else "skipped step"
    assert fates(learner, None) == {
        "0": reason,
        "1": "dynamic_sampling",
        "2": "dynamic_sampling",
        "3": "dynamic_sampling",
    }
    assert learner.metrics.result()["groups/trained"] == 0
    # The next step begins with what there is.
    assert content(step(learner, 2)) == ((["0", "4"], [1, 2]) if kept else None)


def test_train_partial_trains_on_what_there_is_and_warns_once() -> None:
    learner = scripted([MIXED, FLAT] * 10, max_rounds=1)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, *_, **__: seen.append(str(message))  # type: ignore[assignment]
        for number in (1, 2, 3):
            begin(learner)
            assert content(collect(learner, number)) == ([str(2 * number - 2)], [number])
            metrics = learner.metrics.result()
            assert (metrics["groups/trained"], metrics["groups/kept_fraction"]) == (1, 0.5)
            assert metrics["groups/responses_per_kept"] == 2 * SAMPLES
    assert seen == [
        "some steps found fewer than `rollout.prompts` = 2 groups that pass the filters within 1 rounds and trained on what"
        " there was; `groups/trained` in the metrics says which"
    ]


@pytest.mark.parametrize("on_exhausted", ["train_partial", "skip"])
def test_a_step_without_any_group_is_skipped(on_exhausted: str) -> None:
    learner = scripted([FLAT] * 20, on_exhausted=on_exhausted, max_rounds=3)
    assert step(learner, 1) is None
    metrics = learner.metrics.result()
    assert (metrics["groups/rounds"], metrics["groups/trained"]) == (3, 0)
    assert metrics["groups/responses_per_kept"] == float("inf")


# Surplus groups


def surplus_learner(**plan: Any) -> Learner:
    """Step 1 has one group in round 1, so it asks for two more in round 2, where both pass: one too many."""
    return scripted([MIXED, FLAT, MIXED, MIXED, *[MIXED] * 20], **plan)


def test_surplus_is_discarded_by_default() -> None:
    learner = surplus_learner()
    batch = step(learner, 1)
    assert content(batch) == (["0", "2"], [1, 1])
    assert fates(learner, batch) == {"0": None, "1": "dynamic_sampling", "2": None, "3": "surplus"}
    assert (learner.leftovers, learner.metrics.result()["groups/surplus"]) == ([], 1)
    assert content(step(learner, 2)) == (["4", "5"], [2, 2])


def test_surplus_is_kept_for_the_next_step_when_it_may_be_stale() -> None:
    learner = surplus_learner(max_staleness=1)
    batch = step(learner, 1)
    assert fates(learner, batch)["3"] == "surplus, kept for the next step"
    batch = step(learner, 2)
    assert content(batch) == (["3", "4"], [1, 2])
    # Written down again, now as trained on; its responses still say which step sampled them.
    assert fates(learner, batch) == {"3": None, "4": None}
    assert {row["step"] for row in learner.sampled.rows(batch) if row["problem"] == "3"} == {1}
    assert learner.metrics.result()["groups/stale"] == 1
    assert learner.leftovers == []


@pytest.mark.parametrize("staleness", [1, 2, 3])
def test_surplus_is_dropped_when_it_is_older_than_it_may_be(staleness: int) -> None:
    for later in (2, 3, 4, 5):
        learner = surplus_learner(max_staleness=staleness)
        step(learner, 1)
        fresh = later - 1 <= staleness
        assert content(step(learner, later)) == ((["3", "4"], [1, later]) if fresh else (["4", "5"], [later, later]))


def test_the_oldest_come_first() -> None:
    """Two skipped steps leave a group each; the third has two new ones, of which the newer is too many."""
    flat = [FLAT] * 2
    learner = scripted([MIXED, *flat, MIXED, FLAT, MIXED, MIXED], 3, on_exhausted="skip", max_rounds=1, max_staleness=5)
    assert step(learner, 1) is None
    assert step(learner, 2) is None
    assert [content(batch) for batch in learner.leftovers] == [(["0"], [1]), (["3"], [2])]
    assert content(step(learner, 3)) == (["0", "3", "5"], [1, 2, 3])


def test_more_left_over_than_a_step_takes_wait_in_order() -> None:
    """Nothing is sampled while there is enough."""
    learner = scripted([MIXED] * 20, max_staleness=3)
    begin(learner)
    first = collect(learner, 1)
    learner.config.rollout.prompts = 5
    begin(learner)
    big = collect(learner, 2)
    assert first is not None
    assert big is not None
    learner.leftovers = [big]
    learner.config.rollout.prompts = 2
    assert content(step(learner, 3)) == (["2", "3"], [2, 2])
    assert {"groups/kept", "groups/rounds"} <= {name for name, value in learner.metrics.result().items() if value == 0}
    assert content(step(learner, 4)) == (["4", "5"], [2, 2])
    assert content(step(learner, 5)) == (["6", "7"], [2, 5])


def test_the_strictest_plan_of_several_filters_wins() -> None:
    class Once(Component):
        """Another plan."""

        @hookimpl
        def plan_refill(self) -> Any:
            from dapoctl import Refill

            return Refill(max_rounds=1, on_exhausted="error", max_staleness=0)

    learner = scripted([MIXED, FLAT, MIXED, MIXED], max_rounds=5, max_staleness=3)
    learner.pipeline = type(learner.pipeline)([*learner.pipeline.components.values(), Once()])
    with pytest.raises(ExhaustedError, match="1 of 2 groups passed the filters in 1 rounds"):
        gather(learner, 1)


class Watched(Component):
    """A policy loss that keeps what it is given."""

    _seen: list[Tokens] = PrivateAttr(default_factory=list)

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        self._seen.append(tokens)
        return -tokens.advantages * (tokens.logprobs - tokens.old_logprobs).exp()


def test_a_stale_group_s_old_policy_is_the_one_that_sampled_it() -> None:
    """A fresh group's is the trainer's own before the update, by one forward pass of full sequences."""
    watched = Watched()
    learner = scripted([MIXED, FLAT, MIXED, MIXED, *[MIXED] * 20], extra=(watched,), max_staleness=1)
    first = step(learner, 1)
    assert first is not None
    learn(learner, first, 1)
    assert all(torch.equal(tokens.old_logprobs, tokens.logprobs) for tokens in watched._seen)
    with torch.no_grad():
        for parameter in learner.policy.parameters():
            parameter.mul_(1.05)
    batch = step(learner, 2)
    assert batch is not None
    assert batch.born == [1, 2]
    with torch.no_grad():
        own = full_logprobs(learner, batch)[0]
    watched._seen.clear()
    learn(learner, batch, 2)
    stale = (torch.tensor(batch.born)[batch.groups] == 1)[:, None].expand(batch.mask.shape)
    expected = torch.where(stale, batch.rollout_logprobs, own)
    assert (own - batch.rollout_logprobs)[stale & batch.mask].abs().max() > 0.01
    got = torch.cat([tokens.old_logprobs for tokens in watched._seen]).sort().values
    torch.testing.assert_close(got, expected[batch.mask].sort().values, rtol=0, atol=2e-5)
    metrics = step_metrics(learner)
    assert metrics["policy/ratio_max"] > 1.001


def test_generated_tokens_are_those_of_the_step() -> None:
    learner = surplus_learner(max_staleness=1)
    for number in (1, 2):
        batch = step(learner, number)
        assert batch is not None
        sampled = sum(row["tokens"] for row in learner.sampled.rows(batch) if row["step"] == number)
        metrics = step_metrics(learner)
        got = metrics["throughput/generated_tokens_per_s"] * metrics["time/generate"]
        assert got == pytest.approx(sampled)
    assert sampled < sum(row["tokens"] for row in learner.sampled.rows(batch))


@pytest.mark.parametrize(
    "plan",
    [{"max_staleness": 2}, {"max_staleness": 2, "max_rounds": 1, "on_exhausted": "skip"}],
    ids=["surplus", "skipped"],
)
def test_what_is_left_over_survives_a_checkpoint(tmp_path: Path, plan: dict[str, Any]) -> None:
    straight, resumed = surplus_learner(**plan), surplus_learner(**plan)
    step(straight, 1)
    restore(resumed, read_state(save(straight, tmp_path, 1, {})))
    one, other = (step(learner, 2) for learner in (straight, resumed))
    assert one is not None
    assert other is not None
    assert content(one) == content(other)
    assert one.born == [1, 2]
    for name in ("response_ids", "mask", "rollout_logprobs", "rewards", "advantages"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert straight.sampled.rows(one) == resumed.sampled.rows(other)
