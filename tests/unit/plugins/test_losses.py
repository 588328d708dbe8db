"""The clipped objectives against PPO's and DAPO's formulas, token by token."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from dapoctl_dapo.losses import ClipHigher
from dapoctl_grpo.losses import Clip
from torch import Tensor

from tests.support.helpers import make_tokens, numeric_gradient, record

EXTREMES = [-100.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 100.0]
ADVANTAGES = [-3.0, -1.0, -1e-4, 0.0, 1e-4, 1.0, 3.0]


def formula(log_ratio: float, advantage: float, low: float, high: float, dual: float | None = None) -> float:
    """max(-A r, -A clip(r)) with the log-ratio clamped to +-20; for A < 0, at most -A c."""
    ratio = math.exp(min(max(log_ratio, -20.0), 20.0))
    clipped = min(max(ratio, 1 - low), 1 + high)
    loss = max(-advantage * ratio, -advantage * clipped)
    if dual is not None and advantage < 0:
        loss = min(loss, -advantage * dual)
    return loss


def pairs(count: int = 2000) -> tuple[Tensor, Tensor]:
    """Log-ratios and advantages: random ones, and every pair of extremes."""
    rng = random.Random(0)
    drawn = [(rng.gauss(0, rng.choice([0.1, 1.0, 10.0])), rng.gauss(0, 1)) for _ in range(count)]
    drawn += [(log_ratio, advantage) for log_ratio in EXTREMES for advantage in ADVANTAGES]
    log_ratios, advantages = zip(*drawn, strict=True)
    return torch.tensor(log_ratios, dtype=torch.float64), torch.tensor(advantages, dtype=torch.float64)


def loss_of(component: Any, log_ratios: Tensor, advantages: Tensor) -> Tensor:
    result: Tensor = component.policy_loss(make_tokens(log_ratios, torch.zeros_like(advantages), advantages))
    return result


CASES = [
    (Clip(), 0.2, 0.2, None),
    (Clip(eps=0.05), 0.05, 0.05, None),
    (ClipHigher(), 0.2, 0.28, None),
    (ClipHigher(eps_low=0.1, eps_high=4.0), 0.1, 4.0, None),
    (ClipHigher(dual_clip=10.0), 0.2, 0.28, 10.0),
    (ClipHigher(dual_clip=3.0), 0.2, 0.28, 3.0),
    (ClipHigher(eps_high=1.0, dual_clip=1.5), 0.2, 1.0, 1.5),
]


@pytest.mark.parametrize(("component", "low", "high", "dual"), CASES)
def test_loss_matches_the_formula(component: Any, low: float, high: float, dual: float | None) -> None:
    log_ratios, advantages = pairs()
    got = loss_of(component, log_ratios, advantages)
    expected = [formula(x, a, low, high, dual) for x, a in zip(log_ratios.tolist(), advantages.tolist(), strict=True)]
    assert got.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("dual", [None, 3.0])
def test_clip_higher_matches_a_two_sided_loss_written_by_cases(dual: float | None) -> None:
    """The same objective as trainers that take min(r A, clip(r) A) and negate it."""
    log_ratios, advantages = pairs()
    got = loss_of(ClipHigher(dual_clip=dual), log_ratios, advantages)
    for value, x, advantage in zip(got.tolist(), log_ratios.tolist(), advantages.tolist(), strict=True):
        ratio = math.exp(min(max(x, -20.0), 20.0))
        if advantage >= 0:
            expected = -advantage * min(ratio, 1.28)
        else:
            bounded = max(ratio, 0.8) if dual is None else min(max(ratio, 0.8), dual)
            expected = -advantage * bounded
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("eps", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_bounds_are_clip_bit_for_bit(eps: float, dtype: torch.dtype) -> None:
    results = []
    for component in (Clip(eps=eps), ClipHigher(eps_low=eps, eps_high=eps)):
        log_ratios, advantages = pairs()
        log_ratios = log_ratios.to(dtype).requires_grad_()
        loss = loss_of(component, log_ratios, advantages.to(dtype))
        (gradient,) = torch.autograd.grad(loss.sum(), log_ratios)
        results.append((loss, gradient))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize(("component", "low", "high", "dual"), CASES)
def test_gradient_matches_finite_differences(component: Any, low: float, high: float, dual: float | None) -> None:
    log_ratios, advantages = pairs(150)
    # Away from the corners, where the objective has no derivative.
    corners = [math.log(1 - low), math.log(1 + high), -20.0, 20.0, *([math.log(dual)] if dual else [])]
    smooth = torch.stack([(log_ratios - corner).abs() > 1e-3 for corner in corners]).all(0) & (log_ratios < 5)
    log_ratios, advantages = log_ratios[smooth].requires_grad_(), advantages[smooth]
    (gradient,) = torch.autograd.grad(loss_of(component, log_ratios, advantages).sum(), log_ratios)
    numeric = numeric_gradient(lambda x: loss_of(component, x, advantages).sum(), log_ratios)
    torch.testing.assert_close(gradient, numeric, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "flows"),
    [
        (0.0, 1.0, True),
        (0.0, -1.0, True),
        (math.log(1.27), 1.0, True),
        (math.log(1.29), 1.0, False),
        (math.log(1.29), -1.0, True),
        (math.log(0.81), -1.0, True),
        (math.log(0.79), -1.0, False),
        (math.log(0.79), 1.0, True),
        (math.log(2.9), -1.0, True),
        (math.log(3.1), -1.0, False),
        (0.1, 0.0, False),
        (100.0, 1.0, False),
        (-100.0, -1.0, False),
    ],
)
def test_gradient_is_zero_exactly_where_clipped(log_ratio: float, advantage: float, flows: bool) -> None:
    x = torch.tensor([log_ratio], dtype=torch.float64, requires_grad=True)
    loss = loss_of(ClipHigher(dual_clip=3.0), x, torch.tensor([advantage], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    # The derivative of -A r with respect to log r is -A r.
    assert float(gradient) == pytest.approx(-advantage * math.exp(log_ratio) if flows else 0.0)


def test_first_update_has_the_plain_policy_gradient() -> None:
    advantages = torch.tensor([2.0, -0.5, 0.0, 1.0])
    logprobs = torch.tensor([-1.0, -0.1, -3.0, -20.0], requires_grad=True)
    for component in (Clip(), ClipHigher(), ClipHigher(dual_clip=10.0)):
        loss = component.policy_loss(make_tokens(logprobs, advantages=advantages))
        (gradient,) = torch.autograd.grad(loss.sum(), logprobs)
        assert torch.equal(gradient, -advantages)


@pytest.mark.parametrize("component", [Clip(), ClipHigher(), ClipHigher(dual_clip=10.0)])
def test_extreme_ratios_stay_finite_in_float32(component: Any) -> None:
    log_ratios = torch.tensor([-1e4, -100.0, 100.0, 1e4] * 2, requires_grad=True)
    advantages = torch.tensor([1.0] * 4 + [-1.0] * 4)
    loss = loss_of(component, log_ratios, advantages)
    (gradient,) = torch.autograd.grad(loss.sum(), log_ratios)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("component", "low", "high"), [(Clip(), 0.2, 0.2), (ClipHigher(), 0.2, 0.28)])
def test_clip_fractions_count_tokens_without_gradient(component: Any, low: float, high: float) -> None:
    logged = record(component, "some_clip")
    log_ratios, advantages = pairs()
    component.policy_loss(make_tokens(log_ratios.requires_grad_(), torch.zeros_like(advantages), advantages))
    below = above = 0
    for x, advantage in zip(log_ratios.tolist(), advantages.tolist(), strict=True):
        below += math.exp(min(max(x, -20.0), 20.0)) < 1 - low and advantage < 0
        above += math.exp(min(max(x, -20.0), 20.0)) > 1 + high and advantage > 0
    assert logged.keys() == {"policy/clip_fraction_low", "policy/clip_fraction_high"}
    assert len(logged["policy/clip_fraction_low"]) == len(logged["policy/clip_fraction_high"]) == len(advantages)
    assert sum(logged["policy/clip_fraction_low"]) == below > 0
    assert sum(logged["policy/clip_fraction_high"]) == above > 0
    component.attach("some_clip")


def test_the_paper_s_bounds_are_the_defaults() -> None:
    assert Clip().eps == 0.2
    assert (ClipHigher().eps_low, ClipHigher().eps_high, ClipHigher().dual_clip) == (0.2, 0.28, None)
