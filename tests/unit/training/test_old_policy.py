"""Whose log-probabilities an update's ratios are taken to, and how many passes through the model that costs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from dapoctl import Batch
from dapoctl.training import step as steps
from dapoctl.training.batching import optimizer_batches
from dapoctl.training.learner import Learner, seed_for
from dapoctl.training.step import accumulate_gradient, apply_gradient, estimate, old_logprobs, update
from tests.support.learners import in_float64, make_learner, responses_batch

GROUPS = 6


def learner_for(updates: int) -> Learner:
    """A rate at which the second update's ratios are far from 1."""
    return in_float64(make_learner(["clip_higher"], optim={"lr": 1e-2, "updates": updates}))


def prepared(learner: Learner, **changes: Any) -> Batch:
    batch = responses_batch(learner.policy, groups=GROUPS)
    return estimate(learner, dataclasses.replace(batch, rollout_logprobs=batch.rollout_logprobs.double(), **changes))


def flat(learner: Learner) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in learner.policy.parameters()])


@pytest.mark.parametrize(("updates", "asked"), [(1, 0), (2, GROUPS // 2), (3, 2 * GROUPS // 3)])
def test_what_the_first_update_trains_on_takes_no_pass_of_its_own(
    updates: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(steps, "old_logprobs", lambda *args: seen.append(len(args[1].problems)) or old_logprobs(*args))
    learner = learner_for(updates)
    update(learner, prepared(learner), 1)
    assert sum(seen) == asked


def test_a_stale_group_is_asked_for_also_in_the_first_update(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(steps, "old_logprobs", lambda *args: seen.append(len(args[1].problems)) or old_logprobs(*args))
    learner = learner_for(1)
    update(learner, prepared(learner, step=2, born=[1, *[2] * (GROUPS - 1)]), 2)
    assert seen == [GROUPS]


@pytest.mark.parametrize("updates", [2, 3])
def test_weights_are_those_of_a_pass_over_everything(updates: int) -> None:
    ours, theirs = learner_for(updates), learner_for(updates)
    update(ours, prepared(ours), 1)
    whole = prepared(theirs)
    whole = dataclasses.replace(whole, old_logprobs=old_logprobs(theirs, whole))
    generator = torch.Generator().manual_seed(seed_for(theirs.config.seed, 3, 1))
    for part in optimizer_batches(whole, updates, generator):
        accumulate_gradient(theirs, part)
        apply_gradient(theirs, 1)
        theirs.optimizer.zero_grad()
    assert ours.metrics.result()["policy/ratio_max"] > 1.2
    assert torch.allclose(flat(ours), flat(theirs), rtol=0, atol=1e-9)
    assert (flat(ours) - flat(learner_for(updates))).abs().max() > 1e-2
