"""Which prompts are sampled, and which groups are kept."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from dapoctl_dapo.sampling import DynamicSampling
from dapoctl_grpo.prompts import Uniform

from dapoctl import Problem, PromptPool, Refill, UserError
from dapoctl.config import RunConfig
from dapoctl.config.schema import RolloutConfig
from tests.support.helpers import make_batch


def pool(size: int, seed: int = 0, step: int = 1) -> PromptPool:
    return PromptPool(
        problems=[Problem(str(index), "", "") for index in range(size)],
        attempts=np.zeros(size, dtype=np.int64),
        solved=np.zeros(size, dtype=np.int64),
        last_step=np.full(size, -1, dtype=np.int64),
        seed=seed,
        step=step,
        rng=np.random.default_rng([seed, step]),
    )


def drawn(count: int, size: int, seed: int = 0, each: int = 1) -> list[int]:
    """`count` prompts, `each` at a call."""
    component = Uniform()
    calls = [component.select_prompts(pool(size, seed, step), each) for step in range(count // each)]
    return list(itertools.chain.from_iterable(calls))


def test_groups_with_some_but_not_all_right_are_kept() -> None:
    correct = [list(group) for size in (1, 2, 3) for group in itertools.product([False, True], repeat=size)]
    # Rewards that say something else: only correctness counts.
    rewards = [[1.0 if index % 2 else -0.5 for index in range(len(group))] for group in correct]
    kept = DynamicSampling().filter_groups(make_batch(rewards, correct=correct))
    assert kept.dtype == torch.bool
    assert kept.tolist() == [0 < sum(group) < len(group) for group in correct]


def test_shaped_rewards_do_not_rescue_a_group() -> None:
    batch = make_batch([[-1.0, -1.5, -1.25], [1.0, -1.0, -1.5]], correct=[[False] * 3, [True, False, False]])
    assert DynamicSampling().filter_groups(batch).tolist() == [False, True]


@pytest.mark.parametrize(
    "parameters",
    [{}, {"max_rounds": 1, "on_exhausted": "skip", "max_staleness": 4}, {"on_exhausted": "error"}],
)
def test_refill_plan_has_the_parameters(parameters: dict[str, Any]) -> None:
    defaults = {"max_rounds": 10, "on_exhausted": "train_partial", "max_staleness": 0}
    assert DynamicSampling(**parameters).plan_refill() == Refill(**(defaults | parameters))


def test_groups_of_one_are_refused() -> None:
    DynamicSampling().check_run(RunConfig(rollout=RolloutConfig(samples=2)))
    with pytest.raises(UserError, match=r"`rollout\.samples` = 1.*`dynamic_sampling`.*at least 2"):
        DynamicSampling().check_run(RunConfig(rollout=RolloutConfig(samples=1)))


@pytest.mark.parametrize("each", [1, 4, 5, 7, 20, 60])
def test_every_prompt_comes_once_per_epoch(each: int) -> None:
    order = drawn(420, 20, each=each)
    assert len(order) == 420
    for start in range(0, 420, 20):
        assert sorted(order[start : start + 20]) == list(range(20))


def test_the_order_does_not_depend_on_how_many_are_asked_for_at_once() -> None:
    assert drawn(60, 20, each=1) == drawn(60, 20, each=6) == drawn(60, 20, each=60)


def test_orders_differ_between_epochs_and_seeds() -> None:
    orders = [tuple(drawn(60, 20, seed)[start : start + 20]) for seed in range(5) for start in (0, 20, 40)]
    assert len(set(orders)) == len(orders)
    assert tuple(range(20)) not in orders


def test_the_same_seed_gives_the_same_order() -> None:
    assert drawn(60, 20, seed=3) == drawn(60, 20, seed=3)


@pytest.mark.parametrize("stop", [0, 7, 20, 33])
def test_state_goes_on_where_it_was(stop: int) -> None:
    component, resumed = Uniform(), Uniform()
    first = component.select_prompts(pool(20, seed=5), stop)
    resumed.load_state_dict(component.state_dict())
    rest = resumed.select_prompts(pool(20, seed=5, step=9), 60 - stop)
    assert [*first, *rest] == drawn(60, 20, seed=5)


def test_a_request_larger_than_the_data_goes_round() -> None:
    chosen = Uniform().select_prompts(pool(3), 10)
    assert [sorted(chosen[start : start + 3]) for start in (0, 3, 6)] == [[0, 1, 2]] * 3


def test_indices_are_plain_numbers() -> None:
    assert {type(index) for index in Uniform().select_prompts(pool(5), 5)} == {int}
