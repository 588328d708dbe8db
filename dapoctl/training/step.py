"""ONE training step, in the order of DAPO's Algorithm 1 (arXiv:2503.14476), with a hook at every arrow.

    select_prompts -> generate -> score_response -> shape_rewards -> filter_groups --(refill until P groups)-->
    estimate_advantages -> mask_responses -> weigh_tokens -> [per micro-batch: policy_loss + penalties] -> optimizer -> sync

The loss of an optimizer batch is sum(weights * (policy_loss + penalties)) with weights from the whole batch, so neither
the cut into micro-batches nor padding can change its gradient.

Shapes: B responses, T tokens of the longest, N valid tokens of a micro-batch, D hidden size, V vocabulary entries.
"""

from __future__ import annotations

import contextlib
import dataclasses

import torch
from torch import Tensor

from dapoctl.batch import Batch, Tokens
from dapoctl.config.budget import chunk_tokens, micro_batch_tokens
from dapoctl.errors import DivergedError
from dapoctl.models.vocab_loss import HeadLoss, VocabPenalty, token_logprobs
from dapoctl.training.batching import is_sharded, optimizer_batches, recount
from dapoctl.training.expect import expect
from dapoctl.training.following import measure_following
from dapoctl.training.learner import Learner, seed_for
from dapoctl.training.memory import memory_in_use
from dapoctl.training.microbatch import MicroBatch, hidden_states, micro_batches_for
from dapoctl.training.offload import activations_on_host, weights_on_device
from dapoctl.training.rollout import gather


def collect(learner: Learner, step: int) -> Batch | None:
    """The step's batch with advantages, or None when no group is worth training on. Changes no weight."""
    batch = gather(learner, step)
    if batch is None:
        return None
    with learner.metrics.span("estimate"):
        return estimate(learner, batch)


def learn(learner: Learner, batch: Batch, step: int) -> None:
    """Update the weights on a batch with advantages and give them to the engine."""
    learner.phase("update", 0, 0)
    _note_memory(learner)
    with learner.metrics.span("sleep"):
        learner.engine.sleep()
    with weights_on_device(learner):
        with learner.metrics.timed("update"):
            update(learner, batch, step)
        _note_memory(learner)
        with learner.metrics.timed("sync"):
            learner.engine.load_weights(learner.policy.named_weights())


def _note_memory(learner: Learner) -> None:
    """At the ends of sampling and of the update, each of which leaves its peak to be seen."""
    taken = memory_in_use(learner.policy.device)
    learner.metrics.largest("memory/peak_bytes", torch.tensor(taken, dtype=torch.float64))


def estimate(learner: Learner, batch: Batch) -> Batch:
    """The batch with advantages [B, T], and without the tokens of responses that are masked out."""
    pipeline = learner.pipeline
    learner.metrics.add("reward/std", batch.rewards.std() if len(batch.texts) > 1 else 0.0)
    full, flat = tuple(batch.mask.shape), (len(batch.texts),)
    (name,) = pipeline.providers("estimate_advantages")
    result = pipeline.one("estimate_advantages", batch=batch)
    advantages = expect(result, flat, name, "estimate_advantages", or_shape=full).float()
    keep = torch.ones(flat, dtype=torch.bool)
    for name, mask in pipeline.each("mask_responses", batch=batch).items():
        keep = keep & expect(mask, flat, name, "mask_responses").bool()
    if pipeline.providers("mask_responses"):
        learner.metrics.add("response/masked_fraction", (~keep).float())
    advantages = advantages if advantages.dim() == 2 else advantages[:, None].expand(full)
    return recount(dataclasses.replace(batch, advantages=advantages, mask=batch.mask & keep[:, None]))


def update(learner: Learner, batch: Batch, step: int) -> None:
    """One or several optimizer updates on a batch with advantages."""
    learner.metrics.add("work/trained_tokens", float(batch.mask.sum()))
    measure_following(learner, batch)
    generator = torch.Generator().manual_seed(seed_for(learner.config.seed, 3, step))
    parts = optimizer_batches(batch, learner.config.optim.updates, generator)
    # For the first update the old policy is the present one, and its own forward pass has these numbers.
    moved = [place > 0 or any(born < step for born in part.born) for place, part in enumerate(parts)]
    if any(moved):
        with learner.metrics.span("old_logprobs"):
            parts = [
                dataclasses.replace(part, old_logprobs=old_logprobs(learner, part)) if then else part
                for part, then in zip(parts, moved, strict=True)
            ]
    for part in parts:
        accumulate_gradient(learner, part)
        with learner.metrics.span("optimizer"):
            apply_gradient(learner, step)
        # Gradients are as large as the weights: sampling has better use for that memory.
        learner.optimizer.zero_grad(set_to_none=True)


def accumulate_gradient(learner: Learner, batch: Batch) -> float:
    """Add the gradient of an optimizer batch's loss to the parameters; the loss."""
    (name,) = learner.pipeline.providers("weigh_tokens")
    result = learner.pipeline.one("weigh_tokens", batch=batch)
    # Scaled for float16 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2), and by 1 otherwise.
    weights = learner.scaler.scale(expect(result, tuple(batch.mask.shape), name, "weigh_tokens").float())
    scale = learner.scaler.get_scale()
    policy, total = learner.policy, 0.0
    budget = micro_batch_tokens(learner.config.train, policy.device.type)
    for part in micro_batches_for(policy, batch, budget):
        total += micro_step(learner, batch, part, part.flat(weights)) / scale
    if is_sharded():
        for parameter in learner.policy.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
    learner.metrics.add("policy/loss", total)
    return total


def micro_step(learner: Learner, batch: Batch, part: MicroBatch, weights: Tensor) -> float:
    """Forward, loss and backward of one micro-batch with token weights [N]; its share of the loss."""
    policy, pipeline, span = learner.policy, learner.pipeline, learner.metrics.span
    offloads = learner.config.train.offload_activations
    with span("forward"), activations_on_host(policy.device) if offloads else contextlib.nullcontext():
        hidden = hidden_states(policy, part)
    ref_hidden = None
    if learner.reference is not None:
        with span("reference"), torch.no_grad():
            ref_hidden = hidden_states(learner.reference, part)
    penalized = bool(pipeline.providers("regularize_vocab"))
    loss = HeadLoss(
        head=policy.head,
        token_loss=TokenLosses(learner, batch, part),
        chunk=chunk_tokens(learner.config.train, policy.head.vocabulary, policy.device.type, penalized),
        per_token=pipeline.per_token(),
        vocab_penalty=vocab_penalty(learner) if penalized else None,
        ref_head=learner.reference.head if learner.reference else None,
        needs_ref_logprobs=pipeline.uses("ref_logprobs"),
    )
    with span("loss"):
        value, gradient = loss.backward(hidden, part.targets, weights, ref_hidden)
    with span("backward"):
        torch.autograd.backward(hidden, gradient)
    return float(value)


def apply_gradient(learner: Learner, step: int) -> None:
    """Clip the gradient and update the weights; an update whose gradient is not finite is left out and counted."""
    optim, metrics, scaler = learner.config.optim, learner.metrics, learner.scaler
    if scaler.is_enabled():
        metrics.add("policy/loss_scale", scaler.get_scale())
    scaler.unscale_(learner.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(learner.policy.parameters(), optim.grad_clip)
    rate = optim.lr * min(1.0, step / (optim.warmup_steps + 1))
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    finite = bool(torch.isfinite(norm))
    if finite:
        scaler.step(learner.optimizer)
    scaler.update()
    metrics.add("policy/grad_norm", norm)
    metrics.add("policy/learning_rate", rate)
    metrics.add("policy/skipped_updates", float(not finite))


@torch.no_grad()
def old_logprobs(learner: Learner, batch: Batch) -> Tensor:
    """[B, T] under the policy before the step's updates; for stale groups, under the policy that sampled them."""
    result = batch.rollout_logprobs.clone()
    stale = torch.tensor([born < batch.step for born in batch.born])[batch.groups]
    policy, config = learner.policy, learner.config.train
    chunk = chunk_tokens(config, policy.head.vocabulary, policy.device.type)
    budget = micro_batch_tokens(config, policy.device.type)
    for part in micro_batches_for(policy, batch, budget):
        logprobs, _ = token_logprobs(policy.head, hidden_states(policy, part), part.targets, chunk)
        rows = result[part.rows]
        rows[part.mask] = logprobs.to(result.device)
        result[part.rows] = rows
    return torch.where(stale[:, None], batch.rollout_logprobs, result)


class TokenLosses:
    """The policy objective plus every sampled-token penalty, for any slice of a micro-batch's tokens."""

    def __init__(self, learner: Learner, batch: Batch, part: MicroBatch) -> None:
        assert batch.advantages is not None
        self.learner = learner
        self.rows = len(part.rows)
        self.whole = len(part.targets)
        self.sequence = part.sequence
        self.advantages = part.flat(batch.advantages)
        self.rollout = part.flat(batch.rollout_logprobs)
        self.old = None if batch.old_logprobs is None else part.flat(batch.old_logprobs)

    def __call__(self, logprobs: Tensor, entropy: Tensor, ref: Tensor | None, which: slice) -> Tensor:
        if not bool(torch.isfinite(logprobs.detach()).all()):
            raise DivergedError(
                "the model's log-probabilities are NaN or infinite, before any component saw them: its weights are damaged,"
                " or have become too large; lower `optim.lr`"
            )
        # With one update on fresh responses the old policy is the present one: no second forward pass.
        old = logprobs.detach() if self.old is None else self.old[which]
        optional = {} if ref is None else {"ref_logprobs": ref}
        pipeline = self.learner.pipeline
        if pipeline.uses("entropy"):
            optional["entropy"] = entropy
        tokens = Tokens(
            logprobs=logprobs,
            old_logprobs=old,
            rollout_logprobs=self.rollout[which],
            advantages=self.advantages[which],
            sequence=self.sequence[which],
            sequences=self.rows,
            complete=not pipeline.per_token(),
            optional=optional,
        )
        shape = tuple(logprobs.shape)
        (name,) = pipeline.providers("policy_loss")
        loss = expect(pipeline.one("policy_loss", tokens=tokens), shape, name, "policy_loss")
        for name, penalty in pipeline.each("regularize", tokens=tokens).items():
            loss = loss + expect(penalty, shape, name, "regularize")
            self._log_default(name, penalty)
        self._log(tokens, entropy)
        return loss

    def _log_default(self, name: str, penalty: Tensor) -> None:
        self.learner.default_metrics.add(f"policy/{name}", penalty)

    def _log(self, tokens: Tokens, entropy: Tensor) -> None:
        metrics = self.learner.metrics
        logprobs = tokens.logprobs.detach()
        log_ratio = logprobs - tokens.old_logprobs
        ratio = log_ratio.exp()
        metrics.add("policy/entropy", entropy)
        metrics.add("policy/ratio_mean", ratio)
        metrics.largest("policy/ratio_max", ratio)
        metrics.add("policy/approx_kl", ratio - 1 - log_ratio)
        mismatch = tokens.old_logprobs - tokens.rollout_logprobs
        metrics.add("rollout/logprob_mismatch_mean", mismatch.abs())
        metrics.largest("rollout/logprob_mismatch_max", mismatch.abs())
        weight = mismatch.exp()
        metrics.add("rollout/importance_weight", weight)
        metrics.add("rollout/importance_square", weight.square())


def vocab_penalty(learner: Learner) -> VocabPenalty:
    """The sum of every full-vocabulary penalty [n]."""

    def penalty(logits: Tensor, ref_logits: Tensor) -> Tensor:
        total = logits.new_zeros(len(logits))
        results = learner.pipeline.each("regularize_vocab", logits=logits, ref_logits=ref_logits)
        for name, result in results.items():
            total = total + expect(result, (len(logits),), name, "regularize_vocab")
            learner.default_metrics.add(f"policy/{name}", result)
        return total

    return penalty
