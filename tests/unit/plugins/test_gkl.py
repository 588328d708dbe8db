"""GKL against its paper's formulas, written out over pairs of classes, and against known values."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from dapoctl_gkl.gkl import Gkl, cross_entropy, weighted_mse
from torch import Tensor

from tests.support.helpers import numeric_gradient, record

THETA = [[0.5, -1.0, 2.0, 0.0], [1.0, 0.0, -0.5, 0.25]]
REF = [[0.0, -0.5, 1.5, 0.25], [0.5, 0.5, -1.0, 0.0]]

# T, alpha, beta, gamma, T2: weighted MSE with batch norm, per token; cross-entropy; total with batch norm
VECTORS = [
    ((1, 1, 1, 1.0, 1), (0.0840187109, 0.0840187109, 1.2488783997, 1.3328971106)),
    ((1, 1, 1, 0.5, 1), (0.0911763407, 0.0910614786, 1.2488783997, 1.3400547404)),
    ((1, 1, 1, 0.0, 1), (0.0917968750, 0.0917968750, 1.2488783997, 1.3406752747)),
    ((4, 1, 8, 0.1, 4), (0.0919273234, 0.0919316604, 1.3774763530, 2.1128949401)),
]
PRECISIONS = [(torch.float64, 1e-9), (torch.float32, 1e-6)]


def gkl(case: tuple[float, ...] = (1, 1, 1, 1.0, 1), **changes: Any) -> Gkl:
    temperature, alpha, beta, gamma, weight_temperature = case
    parameters: dict[str, Any] = {
        "coef": 1.0,
        "alpha": alpha,
        "beta": beta,
        "gamma": gamma,
        "temperature": temperature,
        "weight_temperature": weight_temperature,
    }
    return Gkl(**(parameters | changes))


def drawn(rows: int, vocabulary: int, seed: int, scale: float = 1.5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (rows, vocabulary)))


def softmax(values: Any) -> Any:
    exponents = np.exp(values - values.max())
    return exponents / exponents.sum()


def reference_weights(ref: Any, gamma: float, weight_temperature: float) -> Any:
    """P = softmax(z_ref / T2)^gamma, row by row, which does not sum to 1."""
    return np.stack([softmax(row / weight_temperature) ** gamma for row in ref])


def pairwise_mse(theta: Any, ref: Any, weights: Any, norm: str) -> float:
    """1/4 sum_jk P_j P_k (delta_theta_jk - delta_ref_jk)^2 over sum_jk P_j P_k: per token, or with one denominator."""
    numerators, denominators = [], []
    for z, z_ref, p in zip(theta, ref, weights, strict=True):
        numerator = denominator = 0.0
        for j in range(len(z)):
            for k in range(len(z)):
                delta = (z[j] - z[k]) - (z_ref[j] - z_ref[k])
                numerator += 0.25 * p[j] * p[k] * delta**2
                denominator += p[j] * p[k]
        numerators.append(numerator)
        denominators.append(denominator)
    if norm == "batch":
        return sum(numerators) / sum(denominators)
    return sum(n / d for n, d in zip(numerators, denominators, strict=True)) / len(numerators)


def soft_cross_entropy(theta: Any, ref: Any, temperature: float) -> float:
    """- sum_j softmax(z_ref / T)_j log softmax(z_theta / T)_j, mean over tokens."""
    total = 0.0
    for z, z_ref in zip(theta, ref, strict=True):
        p, q = softmax(z_ref / temperature), softmax(z / temperature)
        total -= sum(p[j] * np.log(q[j]) for j in range(len(z)))
    return total / len(theta)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(("case", "expected"), VECTORS)
def test_known_values(
    case: tuple[float, ...], expected: tuple[float, ...], dtype: torch.dtype, tolerance: float
) -> None:
    theta, ref = torch.tensor(THETA, dtype=dtype), torch.tensor(REF, dtype=dtype)
    mse_batch, mse_token, entropy, total = expected
    for change, value in [
        ({"alpha": 0.0, "beta": 1.0, "norm": "batch"}, mse_batch),
        ({"alpha": 0.0, "beta": 1.0, "norm": "token"}, mse_token),
        ({"alpha": 1.0, "beta": 0.0}, entropy),
        ({"norm": "batch"}, total),
        ({"norm": "token"}, case[2] * mse_token + case[1] * entropy),
    ]:
        penalty = gkl(case, **change).regularize_vocab(theta, ref)
        assert penalty.shape == (2,)
        assert penalty.dtype == dtype
        # The known values have ten digits; beta multiplies the last one's rounding.
        assert float(penalty.mean()) == pytest.approx(value, abs=tolerance), change


@pytest.mark.parametrize("norm", ["token", "batch"])
def test_known_gradient(norm: str) -> None:
    theta = torch.tensor(THETA, dtype=torch.float64, requires_grad=True)
    ref = torch.tensor(REF, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(gkl(norm=norm).regularize_vocab(theta, ref).mean(), theta)
    assert gradient[0].tolist() == pytest.approx([0.02583969, -0.05583741, 0.11580546, -0.08580774], abs=1e-8)


@pytest.mark.parametrize("norm", ["token", "batch"])
@pytest.mark.parametrize(("gamma", "weight_temperature"), [(1.0, 1.0), (0.5, 1.0), (0.0, 1.0), (0.3, 4.0), (0.9, 0.5)])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_terms_match_the_paper_s_sums(norm: str, gamma: float, weight_temperature: float, temperature: float) -> None:
    theta, ref = drawn(5, 9, 1), drawn(5, 9, 2)
    weights = reference_weights(ref.numpy(), gamma, weight_temperature)
    mse = pairwise_mse(theta.numpy(), ref.numpy(), weights, norm)
    entropy = soft_cross_entropy(theta.numpy(), ref.numpy(), temperature)
    component = gkl((temperature, 0.7, 3.0, gamma, weight_temperature), norm=norm)
    assert float(component.regularize_vocab(theta, ref).mean()) == pytest.approx(3.0 * mse + 0.7 * entropy, rel=1e-12)


def test_weights_need_not_come_from_the_reference() -> None:
    """The O(V) variance equals the O(V^2) definition for any weights."""
    theta, ref, weights = drawn(4, 8, 3), drawn(4, 8, 4), drawn(4, 8, 5).softmax(-1)
    got = weighted_mse(theta, ref, weights)
    for row in range(4):
        one = slice(row, row + 1)
        expected = pairwise_mse(theta[one].numpy(), ref[one].numpy(), weights[one].numpy(), "token")
        assert float(got[row]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("case", [case for case, _ in VECTORS])
def test_gradient_matches_its_closed_form_and_finite_differences(case: tuple[float, ...]) -> None:
    """beta w (a - mean_w a) + alpha / T (softmax(z_theta / T) - softmax(z_ref / T))"""
    temperature, alpha, beta, gamma, weight_temperature = case
    theta, ref = drawn(3, 6, 6).requires_grad_(), drawn(3, 6, 7)
    component = gkl(case)
    (gradient,) = torch.autograd.grad(component.regularize_vocab(theta, ref).sum(), theta)
    for row in range(3):
        z, z_ref = theta[row].detach().numpy(), ref[row].numpy()
        w = softmax(z_ref / weight_temperature) ** gamma
        w /= w.sum()
        a = z - z_ref
        expected = beta * w * (a - (w * a).sum())
        expected += alpha / temperature * (softmax(z / temperature) - softmax(z_ref / temperature))
        np.testing.assert_allclose(gradient[row].numpy(), expected, rtol=1e-10, atol=1e-13)
    numeric = numeric_gradient(lambda x: component.regularize_vocab(x, ref).sum(), theta)
    torch.testing.assert_close(gradient, numeric, rtol=1e-6, atol=1e-8)


def test_decoupled_divergence_has_the_gradient_of_kl_on_both_sides() -> None:
    """KL(p || q): its gradient for p's logits is the weighted MSE's with p's own weights, for q's the cross-entropy's."""
    first, second = drawn(4, 10, 8).requires_grad_(), drawn(4, 10, 9).requires_grad_()
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    exact = torch.autograd.grad((p.exp() * (p - q)).sum(), (first, second))
    weights = first.detach().softmax(-1)
    decoupled = weighted_mse(first, second.detach(), weights) + cross_entropy(second, first.detach(), 1.0)
    got = torch.autograd.grad(decoupled.sum(), (first, second))
    torch.testing.assert_close(got[0], exact[0], rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(got[1], exact[1], rtol=1e-10, atol=1e-13)


def test_cross_entropy_term_has_the_gradient_of_forward_kl() -> None:
    theta, ref = drawn(4, 10, 10).requires_grad_(), drawn(4, 10, 11)
    p, q = ref.log_softmax(-1), theta.log_softmax(-1)
    (exact,) = torch.autograd.grad((p.exp() * (p - q)).sum(), theta)
    (got,) = torch.autograd.grad(gkl(beta=0.0).regularize_vocab(theta, ref).sum(), theta)
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-13)


def test_squared_error_near_the_reference_has_the_gradient_of_reverse_kl() -> None:
    """There the reference's weights are the policy's, to first order in their distance."""
    ref = drawn(3, 8, 12)
    errors = []
    for distance in (1e-2, 1e-3):
        theta = (ref + distance * drawn(3, 8, 13, scale=1.0)).requires_grad_()
        q, p = theta.log_softmax(-1), ref.log_softmax(-1)
        (exact,) = torch.autograd.grad((q.exp() * (q - p)).sum(), theta)
        (got,) = torch.autograd.grad(gkl(alpha=0.0).regularize_vocab(theta, ref).sum(), theta)
        errors.append(float((got - exact).norm() / exact.norm()))
    assert errors[0] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.2)


def test_penalty_ignores_shifts_of_the_logits() -> None:
    theta, ref = drawn(3, 12, 14), drawn(3, 12, 15)
    plain = gkl().regularize_vocab(theta, ref)
    shifted = gkl().regularize_vocab(theta + 30.0, ref - 7.0)
    torch.testing.assert_close(shifted, plain, rtol=1e-12, atol=1e-12)


def test_reference_gets_no_gradient() -> None:
    theta, ref = drawn(2, 5, 16).requires_grad_(), drawn(2, 5, 17).requires_grad_()
    gkl(norm="batch").regularize_vocab(theta, ref).sum().backward()
    assert ref.grad is None
    assert theta.grad is not None


@pytest.mark.parametrize("norm", ["token", "batch"])
def test_coefficient_scales_penalty_but_not_metric(norm: str) -> None:
    theta, ref = drawn(3, 6, 18), drawn(3, 6, 19)
    results, metrics = [], []
    for coef in (1.0, 0.25, 0.0):
        component = gkl(coef=coef, norm=norm)
        logged = record(component, "gkl")
        results.append(component.regularize_vocab(theta, ref))
        metrics.append(logged["policy/gkl"])
    torch.testing.assert_close(results[1], results[0] / 4)
    assert not results[2].any()
    assert metrics[0] == metrics[1] == metrics[2]


def test_metrics_are_the_divergence_and_its_parts() -> None:
    theta, ref = drawn(4, 7, 20), drawn(4, 7, 21)
    component = gkl((2.0, 0.5, 3.0, 0.5, 1.0), coef=1e-3)
    logged = record(component, "gkl")
    component.regularize_vocab(theta, ref)
    weights = reference_weights(ref.numpy(), 0.5, 1.0)
    mse = pairwise_mse(theta.numpy(), ref.numpy(), weights, "token")
    gap = soft_cross_entropy(theta.numpy(), ref.numpy(), 2.0) - soft_cross_entropy(ref.numpy(), ref.numpy(), 2.0)
    means = {name: float(np.mean(values)) for name, values in logged.items()}
    assert means == {
        "policy/gkl": pytest.approx(3.0 * mse + 0.5 * gap, rel=1e-9),
        "gkl/wmse": pytest.approx(mse, rel=1e-9),
        "gkl/cross_entropy_gap": pytest.approx(gap, rel=1e-9),
    }


@pytest.mark.parametrize("prior", ["token", "ema"])
@pytest.mark.parametrize("norm", ["token", "batch"])
def test_metric_is_exactly_zero_at_the_reference(norm: str, prior: str) -> None:
    theta = drawn(3, 1000, 22, scale=3.0).float().requires_grad_()
    component = gkl((1.5, 1.0, 1.0, 0.5, 2.0), norm=norm, prior=prior)
    for _ in range(2):
        logged = record(component, "gkl")
        penalty = component.regularize_vocab(theta, theta.detach().clone())
        component.on_step_end()
        assert logged["policy/gkl"] == [0.0, 0.0, 0.0]
    (gradient,) = torch.autograd.grad(penalty.sum(), theta)
    assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("distance", [3.0, 0.1, 1e-3, 1e-5])
def test_float32_keeps_its_digits_at_a_large_vocabulary(gamma: float, distance: float) -> None:
    size = 262_144
    ref = drawn(2, size, 23, scale=3.0).float()
    theta = (ref + distance * drawn(2, size, 24, scale=1.0)).float()
    component = gkl(gamma=gamma)
    results = []
    for dtype in (torch.float32, torch.float64):
        logged = record(component, "gkl")
        logits = theta.to(dtype).requires_grad_()
        penalty = component.regularize_vocab(logits, ref.to(dtype))
        (gradient,) = torch.autograd.grad(penalty.sum(), logits)
        results.append((logged, penalty.detach().double(), gradient.double()))
    (logged, penalty, gradient), (exact_logged, exact_penalty, exact_gradient) = results
    torch.testing.assert_close(penalty, exact_penalty, rtol=1e-5, atol=0)
    for name in ("gkl/wmse", "gkl/cross_entropy_gap", "policy/gkl"):
        assert min(exact_logged[name]) > 0
        assert logged[name] == pytest.approx(exact_logged[name], rel=1e-4 if distance >= 1e-3 else 1e-2), name
    # The cross-entropy's gradient is a difference of two softmaxes, each with float32's relative rounding.
    rounding = 2e-6 * ref.double().softmax(-1).norm()
    assert (gradient - exact_gradient).norm() < 1e-4 * exact_gradient.norm() + rounding


def test_float32_keeps_its_digits_under_a_shift() -> None:
    """The variance of values around 30 is not their mean square minus 900."""
    ref = drawn(1, 262_144, 25, scale=3.0).float()
    theta = (ref + 30.0 + 0.1 * drawn(1, 262_144, 26, scale=1.0)).float()
    results = [
        gkl(gamma=0.5, alpha=0.0).regularize_vocab(theta.to(t), ref.to(t)) for t in (torch.float32, torch.float64)
    ]
    assert float(results[0]) == pytest.approx(float(results[1]), rel=1e-4)


def test_hopeless_distances_stay_finite() -> None:
    theta = torch.tensor([[200.0, 0.0, -300.0], [0.0, 0.0, 1000.0]], requires_grad=True)
    ref = torch.tensor([[-200.0, 0.0, 500.0], [1000.0, 0.0, 0.0]])
    component = Gkl()
    logged = record(component, "gkl")
    penalty = component.regularize_vocab(theta, ref)
    (gradient,) = torch.autograd.grad(penalty.sum(), theta)
    assert penalty.isfinite().all()
    assert gradient.isfinite().all()
    assert all(np.isfinite(value) for values in logged.values() for value in values)


def test_gap_counts_what_the_reference_all_but_excludes() -> None:
    """Half of the policy's mass is where the reference has exp(-300): KL(ref || policy) = log 2."""
    theta, ref = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -300.0]])
    component = Gkl()
    logged = record(component, "gkl")
    component.regularize_vocab(theta, ref)
    assert logged["gkl/cross_entropy_gap"] == pytest.approx([np.log(2)], rel=1e-6)


def steps_of(seed: int) -> list[tuple[Tensor, Tensor]]:
    return [(drawn(6, 5, seed + 2 * step), drawn(6, 5, seed + 2 * step + 1)) for step in range(4)]


def test_moving_average_is_the_weights_source() -> None:
    """Step 1 has each token's own reference distribution; from then on, the average of the steps before."""
    component = gkl(gamma=0.5, alpha=0.0, weight_temperature=2.0, prior="ema", ema_decay=0.75)
    average: Any = None
    for theta, ref in steps_of(30):
        probabilities = np.stack([softmax(row / 2.0) for row in ref.numpy()])
        prior = probabilities if average is None else np.broadcast_to(average, probabilities.shape)
        expected = pairwise_mse(theta.numpy(), ref.numpy(), prior**0.5, "token")
        assert float(component.regularize_vocab(theta, ref).mean()) == pytest.approx(expected, rel=1e-9)
        component.on_step_end()
        mean = probabilities.mean(axis=0)
        average = mean if average is None else 0.75 * average + 0.25 * mean
    np.testing.assert_allclose(component.state_dict()["average"].numpy(), average, rtol=1e-12)


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [4, 2], [1, 5]])
def test_moving_average_does_not_depend_on_the_cut(sizes: list[int]) -> None:
    whole, cut = gkl(gamma=0.5, prior="ema"), gkl(gamma=0.5, prior="ema")
    for theta, ref in steps_of(40):
        expected = whole.regularize_vocab(theta, ref)
        pairs = zip(theta.split(sizes), ref.split(sizes), strict=True)
        got = torch.cat([cut.regularize_vocab(*pair) for pair in pairs])
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
        whole.on_step_end()
        cut.on_step_end()


def test_moving_average_moves_between_steps_only() -> None:
    component = gkl(gamma=1.0, alpha=0.0, prior="ema")
    (theta, ref), (other, other_ref) = steps_of(50)[:2]
    for _ in range(2):
        before = component.regularize_vocab(theta, ref)
        component.regularize_vocab(other, other_ref)
        assert torch.equal(component.regularize_vocab(theta, ref), before)
        component.on_step_end()
        assert not torch.allclose(component.regularize_vocab(theta, ref), before)


def test_moving_average_stays_through_a_step_without_tokens() -> None:
    component = gkl(prior="ema")
    component.on_step_end()
    assert component.state_dict() == {}
    component.regularize_vocab(*steps_of(55)[0])
    component.on_step_end()
    before = component.state_dict()["average"].clone()
    component.on_step_end()
    assert torch.equal(component.state_dict()["average"], before)


def test_moving_average_goes_on_from_its_saved_state() -> None:
    straight, first, second = (gkl(gamma=1.0, prior="ema") for _ in range(3))
    steps = steps_of(60)
    for theta, ref in steps[:2]:
        for component in (straight, first):
            component.regularize_vocab(theta, ref)
            component.on_step_end()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for theta, ref in steps[2:]:
        assert torch.equal(second.regularize_vocab(theta, ref), straight.regularize_vocab(theta, ref))
        second.on_step_end()
        straight.on_step_end()
    assert torch.equal(second.state_dict()["average"], straight.state_dict()["average"])


def test_moving_average_from_a_checkpoint_follows_the_logits_to_their_device() -> None:
    """A checkpoint is loaded on the CPU. The meta device stands for a GPU: it holds no data, but refuses a mixture."""
    on_cpu, resumed = gkl(prior="ema"), gkl(prior="ema")
    (theta, ref), (next_theta, next_ref) = steps_of(70)[:2]
    on_cpu.regularize_vocab(theta, ref)
    on_cpu.on_step_end()
    resumed.load_state_dict(on_cpu.state_dict())
    penalty = resumed.regularize_vocab(next_theta.to("meta"), next_ref.to("meta"))
    resumed.on_step_end()
    assert penalty.device.type == resumed.state_dict()["average"].device.type == "meta"


def test_token_prior_has_no_state() -> None:
    component = gkl()
    component.regularize_vocab(*steps_of(80)[0])
    component.on_step_end()
    assert component.state_dict() == {}


def test_defaults_are_those_of_the_design_for_rl() -> None:
    component = Gkl()
    values = (component.coef, component.alpha, component.beta, component.gamma)
    assert values == (1e-2, 1.0, 1.0, 0.5)
    assert (component.temperature, component.weight_temperature) == (1.0, 1.0)
    assert (component.norm, component.prior) == ("token", "token")
