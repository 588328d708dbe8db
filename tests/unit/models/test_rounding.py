"""Rounding at random: exact in the mean, and what an engine in fewer bits has of an adapter's first steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from torch import Tensor

from dapoctl.models.loading import load_policy
from dapoctl.models.policy import Policy
from dapoctl.models.rounding import rounded_at_random, rounded_weights
from dapoctl.training.step import accumulate_gradient, estimate
from tests.support.learners import make_learner, responses_batch

DIGITS = {torch.bfloat16: 8, torch.float16: 11}
"""Of a mantissa, the first one included"""


@pytest.mark.parametrize("dtype", DIGITS)
def test_each_number_becomes_one_of_its_neighbours_and_the_mean_is_exact(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(400, generator=generator)
    many = rounded_at_random(values.repeat(2000, 1), dtype, generator).float()
    unit = values.abs().log2().floor().exp2() * 2.0 ** (1 - DIGITS[dtype])
    assert bool(((many - values).abs() < unit).all())
    assert bool((many.unique(dim=0).max(0).values - many.min(0).values <= unit * 1.001).all())
    # The standard error of 2,000 draws of one of two numbers is at most half their distance / sqrt(2000).
    assert bool(((many.mean(0) - values).abs() < 5 * unit / 2 / 2000**0.5).all())
    kept = values.to(dtype).float()
    assert torch.equal(rounded_at_random(kept, dtype, generator).float(), kept)


def test_weights_are_rounded_to_the_same_bits_each_time_and_apart_by_name() -> None:
    weights = {"a": torch.randn(50, 60), "b": torch.randn(50, 60), "half": torch.randn(4).bfloat16()}
    weights["c"] = weights["a"]

    def rounded() -> dict[str, Tensor]:
        return dict(rounded_weights(weights.items(), torch.bfloat16))

    first, second = rounded(), rounded()
    assert all(torch.equal(first[name], second[name]) for name in weights)
    assert not torch.equal(first["a"], first["c"])
    assert first["half"] is weights["half"]


def nearest(weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    return ((name, weight.to(dtype)) for name, weight in weights)


def logprobs(policy: Policy, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return policy.model(ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]


@pytest.mark.parametrize(("dtype", "steps"), [(torch.bfloat16, (1, 4, 12)), (torch.float16, (1,))])
def test_an_engine_in_fewer_bits_follows_an_adapter_from_its_first_step(
    dtype: torch.dtype, steps: tuple[int, ...]
) -> None:
    """Only the weights are rounded; the arithmetic is float32. To the nearest, most of the first steps is lost.

    `tiny` has few weights, so the share has a standard error of about 0.1; tests/real_models has a larger model's.
    """
    learner = make_learner(["clip"], lora={"rank": 4}, optim={"lr": 1e-5})
    policy, engine = learner.policy, load_policy(make_learner([]).config)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if not parameter.requires_grad:
                parameter.copy_(parameter.to(dtype).float())
    ids = torch.randint(5, 60, (24, 30), generator=torch.Generator().manual_seed(1))
    before = logprobs(policy, ids)

    def follows(way: Callable[[Iterable[tuple[str, Tensor]], torch.dtype], Iterator[tuple[str, Tensor]]]) -> float:
        engine.model.load_state_dict(
            {name: weight.float() for name, weight in way(policy.named_weights(), dtype)}, strict=False
        )
        shift, followed = logprobs(policy, ids) - before, logprobs(engine, ids) - before
        return float((shift * followed).sum() / shift.square().sum())

    for step in range(1, steps[-1] + 1):
        accumulate_gradient(learner, estimate(learner, responses_batch(policy, seed=step)))
        learner.optimizer.step()
        learner.optimizer.zero_grad()
        if step in steps:
            assert follows(rounded_weights) == pytest.approx(1, abs=0.3), step
            assert follows(nearest) < follows(rounded_weights) - 0.3, step
