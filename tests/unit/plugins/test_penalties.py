"""Distances from the reference against their definitions, scipy and finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from dapoctl_grpo.penalties import EntropyBonus, Kl, KlFull
from scipy.special import rel_entr, softmax
from torch import Tensor

from tests.support.helpers import make_tokens, numeric_gradient, record


def logits(rows: int, vocabulary: int, seed: int, scale: float = 2.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (rows, vocabulary))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("estimator", "formula"),
    [
        ("k1", lambda d: d),
        ("k2", lambda d: d * d / 2),
        ("k3", lambda d: math.exp(-d) - 1 + d),
    ],
)
def test_estimators_match_their_formulas(estimator: Any, formula: Any, dtype: torch.dtype) -> None:
    logprobs = torch.tensor([-0.1, -1.0, -2.0, -7.5, -0.5, -12.0], dtype=dtype)
    reference = torch.tensor([-0.1, -0.2, -3.5, -1.5, -9.0, -12.25], dtype=dtype)
    got = Kl(coef=0.25, estimator=estimator).regularize(make_tokens(logprobs, ref_logprobs=reference))
    expected = [0.25 * formula(a - b) for a, b in zip(logprobs.tolist(), reference.tolist(), strict=True)]
    assert got.tolist() == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("exponent", [-2, -4, -6, -8])
def test_k3_keeps_its_digits_near_the_reference(exponent: int) -> None:
    """k3 = d^2/2 - d^3/6 + ...; exp(-d) - 1 + d as written would lose it to rounding in float32."""
    differences = torch.tensor([10.0**exponent, -(10.0**exponent)])
    estimate = Kl(coef=1.0).regularize(make_tokens(differences, ref_logprobs=torch.zeros(2)))
    for value, d in zip(estimate.tolist(), differences.tolist(), strict=True):
        assert value >= 0
        assert value == pytest.approx(d * d / 2 - d**3 / 6, rel=1e-3, abs=1e-7 * abs(d))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_estimator_is_zero_at_the_reference(estimator: Any) -> None:
    logprobs = torch.tensor([-0.3, -5.0, -0.0])
    penalty = Kl(estimator=estimator).regularize(make_tokens(logprobs, ref_logprobs=logprobs.clone()))
    assert penalty.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_expectation_over_the_vocabulary_is_the_divergence(estimator: Any) -> None:
    """Summed over every token the policy could sample, weighted by its probability: unbiased, no sampling noise."""
    policy, reference = logits(1, 11, 1)[0], logits(1, 11, 2)[0]
    logp, ref_logp = policy.log_softmax(0), reference.log_softmax(0)
    estimates = Kl(coef=1.0, estimator=estimator).regularize(make_tokens(logp, ref_logprobs=ref_logp))
    exact = rel_entr(softmax(policy.numpy()), softmax(reference.numpy())).sum()
    assert float((logp.exp() * estimates).sum()) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    ("estimator", "slope"), [("k1", lambda d: d**0), ("k2", lambda d: d), ("k3", lambda d: 1 - math.exp(-d))]
)
def test_estimator_gradients(estimator: Any, slope: Any) -> None:
    logprobs = torch.tensor([-0.1, -3.0, -2.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-1.0, -0.5, -2.0], dtype=torch.float64)
    penalty = Kl(coef=0.5, estimator=estimator).regularize(make_tokens(logprobs, ref_logprobs=reference))
    (gradient,) = torch.autograd.grad(penalty.sum(), logprobs)
    expected = [0.5 * slope(a - b) for a, b in zip(logprobs.tolist(), reference.tolist(), strict=True)]
    assert gradient.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("distance", [19.0, 25.0, 80.0, 1000.0])
def test_k3_far_below_the_reference_is_finite_and_never_pushes_further_away(distance: float) -> None:
    logprobs = torch.tensor([-distance], requires_grad=True)
    penalty = Kl(coef=1.0).regularize(make_tokens(logprobs, ref_logprobs=torch.zeros(1)))
    (gradient,) = torch.autograd.grad(penalty.sum(), logprobs)
    assert penalty.isfinite().all()
    # Descent must not lower the log-probability of a token that the policy has all but lost.
    assert -1e9 < float(gradient) <= 0


def test_kl_is_logged_without_its_coefficient() -> None:
    component = Kl(coef=1e-3, estimator="k1")
    logged = record(component, "kl")
    component.regularize(make_tokens(torch.tensor([-1.0, -2.0]), ref_logprobs=torch.tensor([-1.5, -1.0])))
    assert logged == {"policy/kl": [0.5, -1.0]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_full_divergence_matches_scipy(direction: Any, dtype: torch.dtype) -> None:
    policy, reference = logits(6, 50, 3, dtype=dtype), logits(6, 50, 4, dtype=dtype)
    p, q = softmax(policy.double().numpy(), axis=-1), softmax(reference.double().numpy(), axis=-1)
    exact = rel_entr(q, p).sum(-1) if direction == "forward" else rel_entr(p, q).sum(-1)
    component = KlFull(coef=0.5, direction=direction)
    logged = record(component, "kl_full")
    got = component.regularize_vocab(policy, reference)
    np.testing.assert_allclose(got.numpy(), 0.5 * exact, rtol=1e-5 if dtype == torch.float32 else 1e-12)
    assert logged == {"policy/kl_full": pytest.approx(exact.tolist(), rel=1e-5)}


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_full_divergence_gradient_matches_finite_differences(direction: Any) -> None:
    policy, reference = logits(2, 7, 5).requires_grad_(), logits(2, 7, 6)
    component = KlFull(coef=2.0, direction=direction)
    (gradient,) = torch.autograd.grad(component.regularize_vocab(policy, reference).sum(), policy)
    numeric = numeric_gradient(lambda x: component.regularize_vocab(x, reference).sum(), policy)
    torch.testing.assert_close(gradient, numeric, rtol=1e-6, atol=1e-8)


def test_forward_divergence_has_the_gradient_of_cross_entropy() -> None:
    """KL(ref || theta) = CE(ref, theta) - H(ref), and H(ref) does not depend on theta."""
    policy, reference = logits(3, 9, 7).requires_grad_(), logits(3, 9, 8)
    (gradient,) = torch.autograd.grad(
        KlFull(coef=1.0, direction="forward").regularize_vocab(policy, reference).sum(), policy
    )
    entropy = torch.nn.functional.cross_entropy(policy, reference.softmax(-1), reduction="sum")
    (expected,) = torch.autograd.grad(entropy, policy)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_full_divergence_is_zero_at_the_reference_and_blind_to_shifts(direction: Any) -> None:
    policy = logits(4, 30, 9)
    component = KlFull(coef=1.0, direction=direction)
    assert component.regularize_vocab(policy, policy.clone()).abs().max() == 0
    shifted = component.regularize_vocab(policy + torch.tensor([[5.0], [-3.0], [0.5], [100.0]]), policy)
    assert shifted.abs().max() < 1e-12


def test_entropy_bonus_rewards_uncertainty() -> None:
    entropy = torch.tensor([0.0, 1.5], requires_grad=True)
    penalty = EntropyBonus(coef=0.1).regularize(make_tokens(torch.zeros(2), entropy=entropy))
    assert penalty.tolist() == pytest.approx([0.0, -0.15])
    (gradient,) = torch.autograd.grad(penalty.sum(), entropy)
    # A step against the gradient raises the entropy.
    assert gradient.tolist() == pytest.approx([-0.1, -0.1])


def test_penalties_ask_for_what_they_read() -> None:
    assert Kl.uses == {"ref_logprobs"}
    assert EntropyBonus.uses == {"entropy"}
