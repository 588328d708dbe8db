"""Advantages against the papers' formulas, group by group in float64."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from dapoctl_grpo.advantages import DrGrpo, Grpo, Rloo

from tests.support.helpers import make_batch

Groups = list[list[float]]

GROUPS: list[Groups] = [
    [[1.0, -1.0, -1.0, 1.0]],
    [[1.0, 0.0], [0.0, 1.0]],
    [[0.3, -0.7, 2.5], [1.0, 1.5, -2.0, 0.25, 9.0], [-1.0, -1.0, 1.0, -1.5]],
    [[1.0, 0.9375, -1.0, -0.5] * 16, [-1.0] * 63 + [1.0]],
]
ALL = [Grpo(), Grpo(scale="batch"), Grpo(scale="none"), DrGrpo(), Rloo()]
NAMES = ["grpo", "grpo-batch", "grpo-none", "dr_grpo", "rloo"]


def formula(component: Any, groups: Groups) -> list[float]:
    """A_i = (R_i - mean_g) / (std + eps), R_i - mean_g, or R_i - mean of the others."""
    result = []
    everything = np.array([reward for group in groups for reward in group], dtype=np.float64)
    for group in groups:
        for place, reward in enumerate(group):
            if isinstance(component, Rloo):
                others = [other for index, other in enumerate(group) if index != place]
                result.append(reward - sum(others) / len(others))
                continue
            advantage = reward - sum(group) / len(group)
            if isinstance(component, Grpo) and component.scale == "group":
                advantage /= np.std(np.array(group), ddof=1) + component.eps
            if isinstance(component, Grpo) and component.scale == "batch":
                advantage /= np.std(everything, ddof=1) + component.eps
            result.append(advantage)
    return result


@pytest.mark.parametrize("groups", GROUPS, ids=["one", "pairs", "unequal", "large"])
@pytest.mark.parametrize("component", ALL, ids=NAMES)
def test_advantages_match_the_formula(component: Any, groups: Groups) -> None:
    advantages = component.estimate_advantages(make_batch(groups))
    assert advantages.shape == (sum(map(len, groups)),)
    assert advantages.dtype == torch.float32
    np.testing.assert_allclose(advantages.numpy(), formula(component, groups), rtol=2e-5, atol=1e-6)


def test_grpo_divides_by_the_unbiased_deviation() -> None:
    # Two rewards 1 apart: mean 1/2, ddof=1 deviation sqrt(1/2).
    advantages = Grpo().estimate_advantages(make_batch([[0.0, 1.0]], dtype=torch.float64))
    assert advantages.tolist() == pytest.approx([-0.5 / (0.5**0.5 + 1e-6), 0.5 / (0.5**0.5 + 1e-6)], rel=1e-12)


@pytest.mark.parametrize("eps", [1e-8, 1e-4, 0.5])
@pytest.mark.parametrize("scale", ["group", "batch"])
def test_eps_is_added_to_the_deviation(scale: Any, eps: float) -> None:
    groups = [[0.5, 0.50001, 0.5], [0.25, 1.0, 2.0]]
    component = Grpo(scale=scale, eps=eps)
    got = component.estimate_advantages(make_batch(groups, dtype=torch.float64))
    np.testing.assert_allclose(got.numpy(), formula(component, groups), rtol=1e-9)


@pytest.mark.parametrize("reward", [0.0, 1.0, -1.0, 0.1, 1 / 3, -0.7, 1e-8, 12345.678])
@pytest.mark.parametrize("size", [2, 3, 7, 16, 1000])
@pytest.mark.parametrize("component", ALL, ids=NAMES)
def test_equal_rewards_give_exactly_zero(component: Any, size: int, reward: float) -> None:
    other = [1.0, -1.0, 0.5]
    advantages = component.estimate_advantages(make_batch([[reward] * size, other]))
    assert advantages[:size].tolist() == [0.0] * size
    assert advantages[size:].all()


@pytest.mark.parametrize("component", ALL, ids=NAMES)
def test_batch_of_equal_rewards_gives_exactly_zero(component: Any) -> None:
    assert component.estimate_advantages(make_batch([[0.1] * 5, [0.1] * 3])).tolist() == [0.0] * 8


@pytest.mark.parametrize("reward", [1.0, -1.0, 0.1, 1 / 3, 7.0])
@pytest.mark.parametrize("component", ALL, ids=NAMES)
def test_group_of_one_keeps_its_reward(component: Any, reward: float) -> None:
    for groups in ([[reward]], [[1.0, -1.0], [reward]]):
        batch = make_batch(groups)
        assert component.estimate_advantages(batch)[-1] == batch.rewards[-1]


@pytest.mark.parametrize("component", ALL, ids=NAMES)
def test_order_does_not_matter(component: Any) -> None:
    groups = GROUPS[2]
    first = component.estimate_advantages(make_batch(groups, dtype=torch.float64))
    by_response = dict(zip([(g, i) for g, group in enumerate(groups) for i in range(len(group))], first, strict=True))
    rng = random.Random(0)
    for _ in range(5):
        order = rng.sample(range(len(groups)), len(groups))
        inside = {g: rng.sample(range(len(groups[g])), len(groups[g])) for g in order}
        moved = make_batch([[groups[g][i] for i in inside[g]] for g in order], dtype=torch.float64)
        keys = [(g, i) for g in order for i in inside[g]]
        expected = torch.stack([by_response[key] for key in keys])
        torch.testing.assert_close(component.estimate_advantages(moved), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("component", ALL, ids=NAMES)
def test_responses_of_a_group_need_not_be_neighbours(component: Any) -> None:
    batch = make_batch([[1.0, 0.0, 3.0], [2.0, 2.5, -1.0]], dtype=torch.float64)
    plain = component.estimate_advantages(batch)
    order = torch.tensor([0, 3, 4, 1, 5, 2])
    batch.groups, batch.rewards = batch.groups[order], batch.rewards[order]
    torch.testing.assert_close(component.estimate_advantages(batch), plain[order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("component", ALL, ids=NAMES)
def test_random_rewards_are_never_nan(component: Any) -> None:
    rng = random.Random(1)
    for _ in range(100):
        groups = [
            [rng.choice([0.0, 1.0, -1.0, 0.1, 1e-30, 1e6]) for _ in range(rng.randint(1, 6))]
            for _ in range(rng.randint(1, 4))
        ]
        batch = make_batch(groups)
        assert component.estimate_advantages(batch).isfinite().all(), groups


@pytest.mark.parametrize("component", ALL, ids=NAMES)
def test_rewards_are_left_as_they_were(component: Any) -> None:
    batch = make_batch(GROUPS[2])
    before = batch.rewards.clone()
    component.estimate_advantages(batch)
    assert torch.equal(batch.rewards, before)
