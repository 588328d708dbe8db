"""The step's loss and gradient against formulas written out on full logits, and their independence of how it is cut."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from dapoctl import Batch, Component, Tokens, hookimpl
from dapoctl.training.batching import recount
from dapoctl.training.learner import Learner
from dapoctl.training.step import accumulate_gradient, estimate
from tests.support.learners import gradients, in_float64, make_learner, responses_batch

WEIGHTS = ("sequence_mean", "token_mean", "group_token_mean", "constant_length")


def prepared(learner: Learner, **options: Any) -> Batch:
    """A batch with advantages and old log-probabilities that differ from the present ones."""
    batch = estimate(learner, responses_batch(learner.policy, **options))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        now = full_logprobs(learner, batch)[0]
    noise = 0.3 * torch.randn(now.shape, generator=generator)
    return dataclasses.replace(batch, old_logprobs=now + noise)


def full_logprobs(learner: Learner, batch: Batch, reference: bool = False) -> tuple[Tensor, Tensor]:
    """Log-probabilities [B, T] from the model's own logits, one unpadded sequence at a time; and logits [B, T, V]."""
    policy = learner.reference if reference else learner.policy
    assert policy is not None
    all_logprobs, all_logits = [], []
    width = batch.mask.shape[1]
    for row in range(len(batch.texts)):
        prompt = batch.prompt_ids[int(batch.groups[row])]
        length = int(batch.lengths[row])
        response = batch.response_ids[row, :length]
        ids = torch.cat([torch.tensor(prompt), response])[None]
        logits = policy.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
        logprobs = logits.log_softmax(-1).gather(1, response[:, None])[:, 0]
        all_logprobs.append(torch.nn.functional.pad(logprobs, (0, width - length)))
        all_logits.append(torch.nn.functional.pad(logits, (0, 0, 0, width - length)))
    return torch.stack(all_logprobs), torch.stack(all_logits)


def trl_advantages(rewards: Tensor, samples: int) -> Tensor:
    """GRPOTrainer: (r - mean) / (std + 1e-4) within each group."""
    grouped = rewards.view(-1, samples)
    return ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-4)).flatten()


def trl_loss(
    logps: Tensor, old: Tensor, ref: Tensor | None, advantages: Tensor, mask: Tensor, *, low: float, high: float,
    beta: float, loss_type: str,
) -> Tensor:  # fmt: skip
    """GRPOTrainer's loss for one process and no gradient accumulation, from its documentation (trl 1.16)."""
    m = mask.float()
    coef_1 = torch.exp(logps - old)
    coef_2 = torch.clamp(coef_1, 1 - low, 1 + high)
    per_token = -torch.min(coef_1 * advantages[:, None], coef_2 * advantages[:, None])
    if ref is not None:
        per_token = per_token + beta * (torch.exp(ref - logps) - (ref - logps) - 1)
    if loss_type == "grpo":
        return ((per_token * m).sum(-1) / m.sum(-1)).mean()
    return (per_token * m).sum() / m.sum()


@pytest.mark.parametrize(
    ("plugins", "loss_type", "low", "high", "beta"),
    [
        (["kl"], "grpo", 0.2, 0.2, 0.04),
        (["clip_higher", "token_mean"], "dapo", 0.2, 0.28, 0.0),
        (["clip_higher", "token_mean", "kl"], "dapo", 0.2, 0.28, 0.04),
    ],
)
def test_loss_and_gradient_equal_trl(plugins: list[str], loss_type: str, low: float, high: float, beta: float) -> None:
    tables = {"grpo": {"eps": 1e-4}, "kl": {"coef": beta}}
    learner = make_learner(plugins, tables=tables, move_policy=0.05)
    batch = prepared(learner)
    loss = accumulate_gradient(learner, batch)
    found = gradients(learner)

    learner.policy.model.zero_grad()
    logps, _ = full_logprobs(learner, batch)
    ref = full_logprobs(learner, batch, reference=True)[0].detach() if learner.reference else None
    assert batch.old_logprobs is not None
    advantages = trl_advantages(batch.rewards, 4)
    expected = trl_loss(
        logps, batch.old_logprobs, ref, advantages, batch.mask, low=low, high=high, beta=beta, loss_type=loss_type
    )
    expected.backward()
    wanted = gradients(learner)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    assert wanted.norm() > 1e-3


def test_penalties_over_the_vocabulary_equal_plain_autograd() -> None:
    learner = make_learner(["gkl", "kl_full", "entropy_bonus"], move_policy=0.05, tables={"gkl": {"coef": 0.1}})
    batch = prepared(learner)
    accumulate_gradient(learner, batch)
    found = gradients(learner)
    learner.policy.model.zero_grad()
    logps, logits = full_logprobs(learner, batch)
    ref_logits = full_logprobs(learner, batch, reference=True)[1].detach()
    log_p, log_r = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    weights = (0.5 * log_r).softmax(-1)
    a = log_p - log_r
    wmse = 0.5 * (weights * (a - (weights * a).sum(-1, keepdim=True)) ** 2).sum(-1)
    ce = -(log_r.exp() * log_p).sum(-1)
    reverse = (log_p.exp() * a).sum(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    assert batch.old_logprobs is not None
    assert batch.advantages is not None
    ratio = (logps - batch.old_logprobs).exp()
    surrogate = torch.max(-batch.advantages * ratio, -batch.advantages * ratio.clamp(0.8, 1.2))
    per_token = surrogate + 0.1 * (wmse + ce) + 1e-2 * reverse - 1e-3 * entropy
    m = batch.mask.float()
    ((per_token * m).sum(-1) / m.sum(-1)).mean().backward()
    wanted = gradients(learner)
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()


class SequenceRatio(Component):
    """A loss that needs whole sequences: the ratio of each response's mean log-probability."""

    uses: ClassVar[frozenset[str]] = frozenset({"entropy"})

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        ratio = tokens.sequence_mean(tokens.logprobs - tokens.old_logprobs).exp()
        return -tokens.advantages * ratio - 0.01 * tokens.entropy


CUTS = [{"micro_batch_tokens": 1, "chunk_tokens": 1000}, {"micro_batch_tokens": 100, "chunk_tokens": 7}]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("whole_sequences", [False, True])
def test_cutting_changes_nothing(weights: str, cut: dict[str, int], whole_sequences: bool) -> None:
    extra = [SequenceRatio()] if whole_sequences else []
    plugins = [weights, "overlong_filter", "gkl", "kl", "entropy_bonus"]
    tables = {"gkl": {"coef": 0.1}, "kl": {"coef": 0.1}}
    learner = in_float64(make_learner(plugins, tables=tables, extra=extra, move_policy=0.05))
    batch = prepared(learner, longest=30)
    assert 0 < int(batch.truncated.sum()) < len(batch.texts)
    wanted, loss = one_gradient(learner, batch, {"micro_batch_tokens": 10**6, "chunk_tokens": 10**6})
    found, same = one_gradient(learner, batch, cut)
    padded, padded_loss = one_gradient(learner, widen(batch, 17), cut)
    assert (found - wanted).norm() <= 1e-7 * wanted.norm()
    assert (padded - wanted).norm() <= 1e-7 * wanted.norm()
    assert loss == pytest.approx(same, rel=1e-7)
    assert loss == pytest.approx(padded_loss, rel=1e-7)


def one_gradient(learner: Learner, batch: Batch, cut: dict[str, int]) -> tuple[Tensor, float]:
    learner.config.train = learner.config.train.model_copy(update=cut)
    learner.policy.model.zero_grad()
    loss = accumulate_gradient(learner, batch)
    return gradients(learner), loss


def widen(batch: Batch, columns: int) -> Batch:
    """The batch with more padding."""
    names = ("response_ids", "mask", "rollout_logprobs", "advantages", "old_logprobs")
    return dataclasses.replace(
        batch, **{name: torch.nn.functional.pad(getattr(batch, name), (0, columns)) for name in names}
    )


def test_masked_responses_give_no_gradient() -> None:
    learner = make_learner(["token_mean", "overlong_filter"])
    batch = prepared(learner, longest=30)
    cut = {"micro_batch_tokens": 100, "chunk_tokens": 64}
    whole, _ = one_gradient(learner, batch, cut)
    changed = batch.response_ids.clone()
    changed[batch.truncated] = 7
    other, _ = one_gradient(learner, dataclasses.replace(batch, response_ids=changed), cut)
    assert torch.equal(whole, other)
    assert batch.counts == recount(batch).counts
    assert batch.counts.responses == int((~batch.truncated).sum())
