"""GSPO, CISPO and the correction between engine and trainer, against TRL's own loss and formulas written out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from typing import Any

import pytest
import torch
from dapoctl_grpo.losses import Clip
from dapoctl_grpo.penalties import Kl
from dapoctl_ratios.correction import TruncatedImportance
from dapoctl_ratios.losses import Cispo, Gspo
from pydantic import Field
from torch import Tensor

from dapoctl import Component, PluginError, Tokens, hookimpl
from dapoctl.components.pipeline import Pipeline
from dapoctl.training.learner import step_metrics
from dapoctl.training.step import accumulate_gradient
from tests.support.helpers import numeric_gradient, record
from tests.support.learners import gradients, in_float64, make_learner
from tests.support.trl_reference import trl_loss
from tests.unit.training.test_gradient import full_logprobs, one_gradient, prepared

LENGTHS = [7, 1, 4, 6, 2]
MASK = torch.arange(8) < torch.tensor(LENGTHS)[:, None]
ADVANTAGES = torch.tensor([1.3, -0.7, 0.9, -1.1, 0.0], dtype=torch.float64)


def drawn(seed: int, scale: float = 0.3) -> Tensor:
    """[B, T]"""
    return scale * torch.randn(MASK.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens_of(logprobs: Tensor, old: Tensor, rollout: Tensor | None = None, advantages: Tensor = ADVANTAGES) -> Tokens:
    """The valid tokens of [B, T] tensors; advantages [B] or [B, T]."""
    spread = advantages if advantages.dim() == 2 else advantages[:, None].expand(MASK.shape)
    return Tokens(
        logprobs=logprobs[MASK],
        old_logprobs=old[MASK],
        rollout_logprobs=(old if rollout is None else rollout)[MASK],
        advantages=spread[MASK],
        sequence=torch.nonzero(MASK)[:, 0],
        sequences=len(MASK),
    )


def sequence_mean() -> Tensor:
    """[N]: 1 / (B |o_i|)"""
    return (MASK.double() / (len(MASK) * MASK.sum(1, keepdim=True)))[MASK]


def token_mean() -> Tensor:
    return torch.full((int(MASK.sum()),), 1 / int(MASK.sum()), dtype=torch.float64)


def loss_and_gradient(
    component: Component, logprobs: Tensor, old: Tensor, weights: Tensor, **more: Any
) -> tuple[Tensor, Tensor]:
    logprobs = logprobs.clone().requires_grad_()
    loss = (weights * Pipeline([component]).one("policy_loss", tokens=tokens_of(logprobs, old, **more))).sum()
    return loss.detach(), torch.autograd.grad(loss, logprobs)[0]


# GSPO


@pytest.mark.parametrize("scale", [0.3, 1e-3])
@pytest.mark.parametrize("variant", ["sequence", "token"])
def test_gspo_equals_trl(variant: Any, scale: float) -> None:
    """TRL: importance_sampling_level = sequence, loss_type = grpo, with the paper's bounds."""
    logprobs, old = drawn(1), drawn(1) + drawn(2, scale)
    loss, gradient = loss_and_gradient(Gspo(variant=variant), logprobs, old, sequence_mean())
    leaf = logprobs.clone().requires_grad_()
    expected = trl_loss(
        leaf, old, ADVANTAGES, MASK, importance_sampling_level="sequence", epsilon_low=3e-4, epsilon_high=4e-4
    )
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-10, atol=1e-14)
    assert gradient[4].abs().sum() == 0


@pytest.mark.parametrize(("low", "high"), [(3e-4, 4e-4), (0.1, 0.3)])
def test_gspo_matches_the_paper_s_sums(low: float, high: float) -> None:
    """Eq. 7, then min(s A, clip(s) A) for every response; each of its tokens carries the response's value."""
    logprobs, old = drawn(3), drawn(3) + drawn(4)
    expected, clipped = [], {"low": 0, "high": 0}
    for row, length in enumerate(LENGTHS):
        s = math.exp(sum(float(logprobs[row, t] - old[row, t]) for t in range(length)) / length)
        advantage = float(ADVANTAGES[row])
        expected += [-min(s * advantage, min(max(s, 1 - low), 1 + high) * advantage)] * length
        clipped["low"] += length * (s < 1 - low and advantage < 0)
        clipped["high"] += length * (s > 1 + high and advantage > 0)
    component = Gspo(eps_low=low, eps_high=high)
    logged = record(component, "gspo")
    assert component.policy_loss(tokens_of(logprobs, old)).tolist() == pytest.approx(expected, rel=1e-12)
    for side, count in clipped.items():
        assert sum(logged[f"policy/clip_fraction_{side}"]) == count
    assert clipped["low"] + clipped["high"] > 0


def test_gspo_gradient_matches_finite_differences() -> None:
    """The ratios are away from the bounds, where the objective has a kink."""
    old = drawn(5) + 0.05
    component = Gspo(eps_low=0.2, eps_high=0.2)
    _, gradient = loss_and_gradient(component, drawn(5), old, sequence_mean())
    numeric = numeric_gradient(lambda x: (sequence_mean() * component.policy_loss(tokens_of(x, old))).sum(), drawn(5))
    torch.testing.assert_close(gradient, numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("weights", [sequence_mean(), token_mean()])
def test_one_update_is_the_clipped_surrogate_s(weights: Tensor) -> None:
    """Where the policy has not moved every ratio is 1, of tokens and of responses."""
    logprobs = drawn(6)
    for component in (Gspo(), Gspo(variant="token"), Cispo()):
        _, gradient = loss_and_gradient(component, logprobs, logprobs, weights)
        _, expected = loss_and_gradient(Clip(), logprobs, logprobs, weights)
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)


def test_gspo_token_gives_each_token_its_own_advantage() -> None:
    """d/dlogp_t = -A_t s where nothing is clipped."""
    logprobs, old, advantages = drawn(7), drawn(7) + drawn(8, 0.1), drawn(9, 1.0)
    component = Gspo(eps_low=0.9, eps_high=9.0, variant="token")
    weights = token_mean()
    _, gradient = loss_and_gradient(component, logprobs, old, weights, advantages=advantages)
    for row, length in enumerate(LENGTHS):
        s = math.exp(float((logprobs - old)[row, :length].mean()))
        expected = [-float(a) * s / sum(LENGTHS) for a in advantages[row, :length]]
        assert gradient[row, :length].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("variant", ["sequence", "token"])
def test_hopeless_ratios_stay_finite(variant: Any) -> None:
    for shift in (-1e4, 1e4):
        loss, gradient = loss_and_gradient(Gspo(variant=variant), drawn(10), drawn(10) + shift, sequence_mean())
        assert loss.isfinite()
        assert gradient.isfinite().all()


# CISPO


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_cispo_equals_trl(scale: float) -> None:
    """TRL's `epsilon_high` is the cap itself, 5 by its recommendation."""
    logprobs, old = drawn(11), drawn(11) + drawn(12, scale)
    loss, gradient = loss_and_gradient(Cispo(), logprobs, old, token_mean())
    leaf = logprobs.clone().requires_grad_()
    expected = trl_loss(leaf, old, ADVANTAGES, MASK, loss_type="cispo", epsilon_high=5.0)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("low", "high"), [(None, 4.0), (None, 0.28), (0.2, 0.28), (1.0, 2.0)])
def test_cispo_matches_the_paper_s_formula(low: float | None, high: float) -> None:
    """-clip(r, 1 - eps_low, 1 + eps_high) A logp, and the gradient is the weight's times -A, on every token."""
    logprobs, old = drawn(13), drawn(13) + drawn(14, 1.0)
    component = Cispo(eps_low=low, eps_high=high)
    logged = record(component, "cispo")
    _, gradient = loss_and_gradient(component, logprobs, old, token_mean())
    ratios, losses = [], component.policy_loss(tokens_of(logprobs, old)).tolist()
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            ratio, advantage = math.exp(float(logprobs[row, t] - old[row, t])), float(ADVANTAGES[row])
            weight = min(max(ratio, 0.0 if low is None else 1 - low), 1 + high)
            assert losses[len(ratios)] == pytest.approx(-weight * advantage * float(logprobs[row, t]), rel=1e-12)
            assert float(gradient[row, t]) * sum(LENGTHS) == pytest.approx(-weight * advantage, rel=1e-12, abs=1e-15)
            ratios.append(ratio)
    record_of = {side: sum(logged[f"policy/clip_fraction_{side}"]) / 2 for side in ("low", "high")}
    assert record_of["high"] == sum(ratio > 1 + high for ratio in ratios) > 0
    assert record_of["low"] == sum(ratio < 1 - (1.0 if low is None else low) for ratio in ratios)


def test_cispo_of_hopeless_ratios_stays_finite() -> None:
    for shift in (-1e4, 1e4):
        loss, gradient = loss_and_gradient(Cispo(eps_high=1e6), drawn(15), drawn(15) + shift, token_mean())
        assert loss.isfinite()
        assert gradient.isfinite().all()


# The correction between engine and trainer


def trl_ratio(old: Tensor, rollout: Tensor, level: str, cap: float) -> Tensor:
    """TRL's `vllm_importance_sampling_correction`, modes `token_truncate` and `sequence_truncate` (its documentation)."""
    difference = (old - rollout) * MASK
    if level == "sequence":
        difference = difference.sum(dim=-1, keepdim=True)
    return torch.clamp(torch.exp(difference), max=cap)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("cap", [2.0, 3.0])
def test_correction_equals_trl(level: Any, cap: float) -> None:
    logprobs, old = drawn(16), drawn(16) + drawn(17)
    rollout = old + drawn(18, 1.0) - 0.3
    pipeline = Pipeline([TruncatedImportance(level=level, cap=cap), Clip()])
    leaf = logprobs.clone().requires_grad_()
    loss = (sequence_mean() * pipeline.one("policy_loss", tokens=tokens_of(leaf, old, rollout))).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    other = logprobs.clone().requires_grad_()
    ratio = trl_ratio(old, rollout, level, cap)
    assert 0 < int((ratio == cap).sum()) < ratio.numel()
    expected = trl_loss(other, old, ADVANTAGES, MASK, importance_sampling_ratio=ratio)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, other.grad, rtol=1e-12, atol=1e-14)


class Doubled(Component):
    """Another wrapper around whatever policy loss there is."""

    @hookimpl(wrapper=True)
    def policy_loss(self) -> Generator[None, Tensor, Tensor]:
        return 2 * (yield)


@pytest.mark.parametrize("loss", [Clip(), Gspo(), Gspo(variant="token"), Cispo()])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_correction_weighs_any_policy_loss_beside_other_wrappers(loss: Any, level: Any) -> None:
    logprobs, old = drawn(19), drawn(19) + drawn(20)
    rollout = old + drawn(21, 0.5)
    ratio = trl_ratio(old, rollout, level, 2.0).expand(MASK.shape)[MASK]
    plain = loss.policy_loss(tokens_of(logprobs, old, rollout))
    for others in ([], [Doubled()]):
        for components in (
            [TruncatedImportance(level=level), *others, loss],
            [loss, *others, TruncatedImportance(level=level)],
        ):
            got = Pipeline(components).one("policy_loss", tokens=tokens_of(logprobs, old, rollout))
            torch.testing.assert_close(got, plain * ratio * 2 ** len(others), rtol=1e-12, atol=1e-14)


def test_no_gradient_flows_through_the_weight() -> None:
    """Not even where the old log-probabilities are the trainer's own."""
    logprobs, rollout = drawn(22).requires_grad_(), drawn(22) + drawn(23)
    pipeline = Pipeline([TruncatedImportance(cap=10.0), Clip()])
    loss = pipeline.one("policy_loss", tokens=tokens_of(logprobs, logprobs, rollout)).sum()
    (gradient,) = torch.autograd.grad(loss, logprobs, allow_unused=True, materialize_grads=True)
    # The surrogate of a ratio of a variable to itself is constant: whatever gradient there were would be the weight's.
    assert gradient.abs().max() < 1e-15


def test_only_the_policy_term_is_weighed() -> None:
    """The step's loss and gradient are sum(w (weight * surrogate + penalty)) on full logits."""
    tables = {"kl": {"coef": 0.3}, "entropy_bonus": {"coef": 0.1}}
    found, wanted = [], []
    for level in ("token", "sequence"):
        learner = make_learner(
            ["truncated_importance", "kl", "entropy_bonus"],
            tables=tables | {"truncated_importance": {"level": level}},
            move_policy=0.05,
        )
        batch = prepared(learner)
        noise = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(3))
        batch = dataclasses.replace(batch, rollout_logprobs=batch.old_logprobs + 0.2 * noise)
        loss = accumulate_gradient(learner, batch)
        found.append((loss, gradients(learner)))

        learner.policy.model.zero_grad()
        logps, logits = full_logprobs(learner, batch)
        ref = full_logprobs(learner, batch, reference=True)[0].detach()
        m = batch.mask.float()
        difference = (batch.old_logprobs - batch.rollout_logprobs) * m
        difference = difference.sum(-1, keepdim=True) if level == "sequence" else difference
        weight = difference.exp().clamp(max=2.0)
        ratio, advantages = (logps - batch.old_logprobs).exp(), batch.advantages
        surrogate = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        log_p = logits.log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        penalties = 0.3 * (torch.exp(ref - logps) - (ref - logps) - 1) - 0.1 * entropy
        expected = (((weight * surrogate + penalties) * m).sum(-1) / m.sum(-1)).mean()
        expected.backward()
        wanted.append((expected.item(), gradients(learner)))
    for (loss, gradient), (expected_loss, expected_gradient) in zip(found, wanted, strict=True):
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert (gradient - expected_gradient).norm() <= 1e-5 * expected_gradient.norm()


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize(
    "cut", [{"micro_batch_tokens": 1, "chunk_tokens": 1000}, {"micro_batch_tokens": 100, "chunk_tokens": 7}]
)
def test_effective_sample_size_is_the_whole_step_s(level: Any, cut: dict[str, int]) -> None:
    """Kish: (sum w)^2 / (N sum w^2), however the batch is cut."""
    learner = make_learner(["truncated_importance", "gspo"], tables={"truncated_importance": {"level": level}})
    batch = prepared(learner, longest=30)
    noise = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(4))
    batch = dataclasses.replace(batch, rollout_logprobs=batch.old_logprobs + 0.5 * noise)
    one_gradient(learner, batch, cut)
    difference = (batch.old_logprobs - batch.rollout_logprobs) * batch.mask
    difference = difference.sum(-1, keepdim=True) if level == "sequence" else difference
    weight = difference.double().exp().clamp(max=2.0).expand(batch.mask.shape)[batch.mask]
    metrics = step_metrics(learner)
    expected = float(weight.sum() ** 2 / (len(weight) * weight.square().sum()))
    assert metrics["truncated_importance/importance_ess"] == pytest.approx(expected, rel=1e-4)
    assert 0 < expected < 0.99
    assert 0 < int((weight == 2.0).sum()) < len(weight)
    assert metrics["truncated_importance/weight_mean"] == pytest.approx(float(weight.mean()), rel=1e-4)
    assert metrics["truncated_importance/capped_fraction"] == pytest.approx(
        float((weight == 2.0).double().mean()), abs=1e-6
    )
    assert metrics["rollout/importance_ess"] != pytest.approx(expected, rel=1e-4)
    assert not [name for name in metrics if name.endswith(("importance_weight", "importance_square"))]


@pytest.mark.parametrize("plugins", [["gspo"], ["cispo"], ["truncated_importance"], ["truncated_importance", "gspo"]])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_cutting_changes_nothing(plugins: list[str], level: str) -> None:
    tables = {"truncated_importance": {"level": level}} if "truncated_importance" in plugins else {}
    tables |= {"gspo": {"eps_low": 0.1, "eps_high": 0.1}} if "gspo" in plugins else {}
    learner = in_float64(make_learner(plugins, tables=tables, move_policy=0.05))
    batch = prepared(learner, longest=30)
    wanted, loss = one_gradient(learner, batch, {"micro_batch_tokens": 10**6, "chunk_tokens": 10**6})
    for cut in ({"micro_batch_tokens": 1, "chunk_tokens": 1000}, {"micro_batch_tokens": 100, "chunk_tokens": 7}):
        found, same = one_gradient(learner, batch, cut)
        assert (found - wanted).norm() <= 1e-7 * wanted.norm()
        assert same == pytest.approx(loss, rel=1e-7)


# Who needs whole sequences, and who a costly part


def test_a_wrapper_says_whether_it_needs_whole_sequences() -> None:
    per_token = {
        level: Pipeline([Clip(), TruncatedImportance(level=level)]).per_token()  # type: ignore[arg-type]
        for level in ("token", "sequence")
    }
    assert per_token == {"token": True, "sequence": False}
    assert not Pipeline([Gspo(), TruncatedImportance()]).per_token()
    assert not Pipeline([Clip(), Doubled()]).per_token()


class Choosy(Component):
    """Reads the reference only when it has a coefficient."""

    coef: float = Field(0.0)

    def token_parts(self) -> frozenset[str]:
        return frozenset({"ref_logprobs"}) if self.coef else frozenset()

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        return tokens.logprobs * 0


def test_what_a_component_reads_may_depend_on_its_parameters() -> None:
    assert not Pipeline([Clip(), Choosy()]).uses("ref_logprobs")
    assert Pipeline([Clip(), Choosy(coef=1.0)]).uses("ref_logprobs")
    assert Pipeline([Clip(), Kl()]).uses("ref_logprobs")


def test_sums_and_means_of_sequences() -> None:
    values = drawn(24)
    tokens = tokens_of(values, values)
    sums, means = tokens.sequence_sum(values[MASK]).tolist(), tokens.sequence_mean(values[MASK]).tolist()
    place = 0
    for row, length in enumerate(LENGTHS):
        total = sum(float(values[row, t]) for t in range(length))
        for _ in range(length):
            assert sums[place] == pytest.approx(total, rel=1e-12)
            assert means[place] == pytest.approx(total / length, rel=1e-12)
            place += 1
    part = dataclasses.replace(tokens, complete=False)
    with pytest.raises(PluginError, match=r"tokens\.sequence_sum needs whole sequences.*`is_per_token`"):
        part.sequence_sum(values[MASK])
    with pytest.raises(PluginError, match=r"tokens\.sequence_mean needs whole sequences.*`per_token = True`"):
        part.sequence_mean(values[MASK])
