"""How much of what the policy has learned its engine has learned as well, where the engine's weights have fewer bits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from dapoctl.config.budget import chunk_tokens
from dapoctl.models.loading import in_float32
from dapoctl.models.vocab_loss import token_logprobs
from dapoctl.training.microbatch import hidden_states, micro_batches_for

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.batch import Batch
    from dapoctl.models.policy import Policy
    from dapoctl.training.learner import Learner
    from dapoctl.training.microbatch import MicroBatch

MEASURED_TOKENS = 512
"""Of a step's batch, prompts included"""


@torch.no_grad()
def measure_following(learner: Learner, batch: Batch) -> None:
    """Add the metrics `rollout/engine_follows` and its standard error, before a step's update.

    With log-probabilities of a few sampled tokens by the policy (p), by the policy before training (b) and by the engine (e),
    the first is the slope of e - b on p - b through the origin: 1 where the engine samples from what is trained, 0 where it
    still samples from the model before training. p and b are computed in float32, since bfloat16's noise is no change.

    Only with adapters, without which the policy before training is at hand, and for engines that say they round.
    """
    policy = learner.policy
    whole = learner.config.rollout.top_p == 1
    if policy.adapters is None or not whole or not getattr(learner.engine, "rounds", False):
        return
    with learner.metrics.span("following"):
        _measure(learner, batch)


def _measure(learner: Learner, batch: Batch) -> None:
    policy = learner.policy
    assert policy.adapters is not None
    # What an earlier policy sampled says nothing of the engine now.
    fresh = torch.tensor([born == batch.step for born in batch.born])[batch.groups]
    batch = dataclasses.replace(batch, mask=batch.mask & fresh[:, None])
    part = next(iter(micro_batches_for(policy, batch, MEASURED_TOKENS)), None)
    if part is None:
        return
    before = _logprobs(learner, dataclasses.replace(policy, adapters=policy.adapters.off()), part)
    shift = _logprobs(learner, policy, part) - before
    square, responses = shift.square().sum(), len(part.rows)
    if responses < 2 or not square:
        return
    followed = part.flat(batch.rollout_logprobs) - before
    slope = (shift * followed).sum() / square
    learner.metrics.add("rollout/engine_follows", slope)
    # An engine's rounding goes on from token to token: what is independent is a response.
    scores = shift.new_zeros(responses).index_add_(0, part.sequence, shift * (followed - slope * shift))
    spread = scores.square().sum() * responses / (responses - 1)
    learner.metrics.add("rollout/engine_follows_error", spread.sqrt() / square)


def _logprobs(learner: Learner, policy: Policy, part: MicroBatch) -> Tensor:
    """[N] of a micro-batch's tokens, in float32 whatever the policy computes in."""
    exact = dataclasses.replace(policy, compute_dtype=torch.promote_types(torch.float32, policy.compute_dtype))
    chunk = chunk_tokens(learner.config.train, exact.head.vocabulary, policy.device.type)
    with in_float32(policy.model):
        hidden = hidden_states(exact, part)
        return token_logprobs(exact.head, hidden, part.targets, chunk)[0]
