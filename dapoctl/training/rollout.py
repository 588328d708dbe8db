"""The first half of a step: sample, score, shape, filter, and look for more until the batch is full."""

from __future__ import annotations

import math
import operator
import warnings

import torch
from torch import Tensor

from dapoctl.batch import Batch, Refill
from dapoctl.components.pipeline import Pipeline
from dapoctl.engines import Sampling
from dapoctl.engines.scoring import Scoring
from dapoctl.errors import DapoctlError, HookError, RunWarning
from dapoctl.training.batching import build_batch, join, select_groups
from dapoctl.training.expect import expect
from dapoctl.training.learner import Learner, seed_for
from dapoctl.training.response_rows import notes_of


class ExhaustedError(DapoctlError):
    """No full batch was found and the run asked to end in that case."""


def gather(learner: Learner, step: int) -> Batch | None:
    """A batch of P groups that pass the filters, the oldest first, or None if there is nothing to train on.

    Raises:
        ExhaustedError: the batch is not full after the last round and the refill plan says `error`.
    """
    wanted = learner.config.rollout.prompts
    plan = refill_plan(learner.pipeline)
    kept = _fresh_leftovers(learner, step, plan)
    have = sum(len(batch.problems) for batch in kept)
    sampled = passed = rounds = responses = 0
    while have < wanted and rounds < plan.max_rounds:
        count = _ask_for(wanted - have, wanted, passed, sampled)
        batch = sample(learner, step, rounds, count)
        with learner.metrics.span("shape"):
            mask = shape_and_filter(learner, batch, rounds)
        indices = torch.nonzero(mask).flatten().tolist()
        if indices:
            kept.append(select_groups(batch, indices))
        sampled, passed, rounds = sampled + count, passed + len(indices), rounds + 1
        have, responses = have + len(indices), responses + len(batch.texts)
    _log_groups(learner, sampled, passed, rounds, responses)
    if have < wanted and plan.on_exhausted == "error":
        raise ExhaustedError(
            f"step {step}: {have} of {wanted} groups passed the filters in {rounds} rounds ({responses} responses);"
            " the prompts are too easy or too hard for the model. Use on_exhausted = train_partial, more rounds, or"
            " other prompts"
        )
    trained = None
    if not have or (have < wanted and plan.on_exhausted == "skip"):
        _set_aside(learner, kept, plan, "skipped step")
        _warn_of("were skipped", wanted, plan)
    else:
        if have < wanted:
            _warn_of("trained on what there was", wanted, plan)
        trained = _take(learner, join(kept, step), wanted, plan)
    learner.metrics.add("groups/trained", len(trained.problems) if trained else 0)
    return trained


def _warn_of(what: str, wanted: int, plan: Refill) -> None:
    # The same words for every step, so that a run says it once; `groups/trained` has the steps.
    warnings.warn(
        f"some steps found fewer than `rollout.prompts` = {wanted} groups that pass the filters within {plan.max_rounds}"
        f" rounds and {what}; `groups/trained` in the metrics says which",
        RunWarning,
        stacklevel=3,
    )


def refill_plan(pipeline: Pipeline) -> Refill:
    """The strictest of the components' plans; one round when nothing is filtered."""
    found = pipeline.each("plan_refill")
    for name, plan in found.items():
        if not isinstance(plan, Refill):
            raise HookError(
                f"component `{name}`, hook `plan_refill` returned {type(plan).__name__}, not a dapoctl.Refill"
            )
    plans = list(found.values())
    if not plans:
        return Refill() if pipeline.providers("filter_groups") else Refill(max_rounds=1)
    severity = ("train_partial", "skip", "error")
    return Refill(
        min(plan.max_rounds for plan in plans),
        max((plan.on_exhausted for plan in plans), key=severity.index),
        min(plan.max_staleness for plan in plans),
    )


def _ask_for(missing: int, wanted: int, passed: int, sampled: int) -> int:
    """Prompts of the next round: as many as are missing, more where few pass, never more than a full batch."""
    rate = max(passed / sampled, 0.25) if sampled else 1.0
    return min(wanted, math.ceil(missing / rate))


def _fresh_leftovers(learner: Learner, step: int, plan: Refill) -> list[Batch]:
    fresh = []
    for batch in learner.leftovers:
        indices = [index for index, born in enumerate(batch.born) if step - born <= plan.max_staleness]
        if indices:
            fresh.append(select_groups(batch, indices))
    learner.leftovers = []
    return fresh


def _take(learner: Learner, batch: Batch, wanted: int, plan: Refill) -> Batch:
    """The first `wanted` groups; the others wait for the next step if the plan allows it."""
    groups = len(batch.problems)
    if groups > wanted:
        surplus = select_groups(batch, range(wanted, groups))
        _set_aside(learner, [surplus], plan, "surplus")
        learner.metrics.add("groups/surplus", len(surplus.problems))
        batch = select_groups(batch, range(wanted))
    learner.metrics.add("groups/stale", sum(born < batch.step for born in batch.born))
    return batch


def _set_aside(learner: Learner, batches: list[Batch], plan: Refill, reason: str) -> None:
    """Keep groups for the next step if the plan allows it, and note why they are not trained on in this one."""
    learner.leftovers = batches if plan.max_staleness else []
    learner.sampled.set_aside = f"{reason}, kept for the next step" if plan.max_staleness else reason


def sample(learner: Learner, step: int, round_: int, count: int) -> Batch:
    """Responses for `count` prompts that `select_prompts` chooses, scored."""
    rollout = learner.config.rollout
    indices = _selected(learner, step, round_, count)
    prompt_ids = [learner.prompt_ids[index] for index in indices]
    problems = [learner.problems[index] for index in indices]
    sampling = Sampling(
        rollout.max_response_tokens,
        rollout.temperature,
        rollout.top_p,
        seed_for(learner.config.seed, 2, step, round_),
    )
    with Scoring(learner.pipeline, problems, learner.policy.decode) as scoring:
        learner.phase("generate", 0, count * rollout.samples)
        with learner.metrics.timed("generate"):
            completions = scoring.generate(learner.engine, prompt_ids, sampling, rollout.samples)
        learner.phase("score", 0, count * rollout.samples)
        # What is left to score: the engine's finished groups were scored while it was still busy with others.
        with learner.metrics.timed("score"):
            texts, verdicts = scoring.result(completions)
    batch = build_batch(
        problems,
        prompt_ids,
        completions,
        texts,
        verdicts,
        step=step,
        max_response_tokens=rollout.max_response_tokens,
    )
    right = batch.group_sum(batch.correct.float()).int().tolist()
    learner.history.record(indices, right, rollout.samples, step)
    return batch


def _selected(learner: Learner, step: int, round_: int, count: int) -> list[int]:
    chosen = learner.pipeline.one("select_prompts", pool=learner.pool(step, round_), count=count)
    (name,) = learner.pipeline.providers("select_prompts")
    try:
        indices = [operator.index(i) for i in chosen]
    except TypeError:
        raise HookError(
            f"component `{name}`, hook `select_prompts` returned {str(chosen)[:80]}; it must return {count} indices of"
            " `pool.problems`, whole numbers"
        ) from None
    if len(indices) != count or not all(0 <= index < len(learner.problems) for index in indices):
        raise HookError(
            f"component `{name}`, hook `select_prompts` returned {indices}; it must return {count} indices from 0 to"
            f" {len(learner.problems) - 1}"
        )
    return indices


def shape_and_filter(learner: Learner, batch: Batch, round_: int) -> Tensor:
    """Add the shaping terms to `batch.rewards`, ask the filters, and note every response; the keep mask [P]."""
    pipeline, shape = learner.pipeline, (len(batch.texts),)
    for name, term in pipeline.each("shape_rewards", batch=batch).items():
        batch.terms[name] = expect(term, shape, name, "shape_rewards").float()
    batch.rewards = batch.scores + sum(batch.terms.values(), torch.zeros(shape))
    keep = torch.ones(len(batch.problems), dtype=torch.bool)
    reasons = [""] * len(batch.problems)
    for name, mask in pipeline.each("filter_groups", batch=batch).items():
        passes = expect(mask, tuple(keep.shape), name, "filter_groups").bool()
        keep = keep & passes
        reasons = [reason or ("" if passed else name) for reason, passed in zip(reasons, passes.tolist(), strict=True)]
    _log_responses(learner, batch)
    batch.notes = notes_of(batch, round_)
    learner.sampled.add(batch, reasons)
    return keep


def _log_responses(learner: Learner, batch: Batch) -> None:
    metrics = learner.metrics
    metrics.add("reward/mean", batch.rewards)
    for name, term in batch.terms.items():
        metrics.add(f"reward/{name}", term)
    metrics.add("score/accuracy", batch.correct.float())
    for outcome in ("unanswered", "timeout", "error"):
        metrics.add(f"score/{outcome}", torch.tensor([v.outcome == outcome for v in batch.verdicts]).float())
    marks = [verdict.marked for verdict in batch.verdicts]
    if None not in marks:
        metrics.add("score/unmarked", torch.tensor([not marked for marked in marks]).float())
    metrics.add("response/length_mean", batch.lengths.float())
    metrics.largest("response/length_max", batch.lengths)
    metrics.add("response/truncated_fraction", batch.truncated.float())
    right, sizes = batch.group_sum(batch.correct.float()), batch.group_sizes()
    metrics.add("groups/all_wrong", (right == 0).float())
    metrics.add("groups/all_right", (right == sizes).float())


def _log_groups(learner: Learner, sampled: int, passed: int, rounds: int, responses: int) -> None:
    metrics = learner.metrics
    metrics.add("groups/kept", passed)
    metrics.add("groups/rounds", rounds)
    if sampled:
        metrics.add("groups/kept_fraction", passed / sampled)
        metrics.add("groups/responses_per_kept", responses / passed if passed else math.inf)
