"""The real training step with the component in it, cut into micro-batches and chunks in several ways.

The model is the embedded one in float64, so that two ways to compute the same gradient agree to the last digits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from dapoctl.batch import Batch, Problem, Score
from dapoctl.components.pipeline import Pipeline
from dapoctl.config import RunConfig
from dapoctl.engines import Completion
from dapoctl.engines.hf import HfEngine
from dapoctl.errors import PluginError
from dapoctl.models.loading import load_policy, load_reference
from dapoctl.models.policy import Policy
from dapoctl.testing.minimal_components import minimal_providers
from dapoctl.testing.properties.invariance import widen
from dapoctl.testing.results import Broken
from dapoctl.testing.subject import BATCH_HOOKS, TOKEN_HOOKS, VOCAB_HOOKS, Subject
from dapoctl.training.batching import build_batch
from dapoctl.training.learner import History, Learner
from dapoctl.training.rollout import shape_and_filter
from dapoctl.training.step import accumulate_gradient, estimate, old_logprobs

NEEDED = ("estimate_advantages", "weigh_tokens", "policy_loss")
TOUCHED = ({*BATCH_HOOKS} - {"filter_groups"}) | {*TOKEN_HOOKS, *VOCAB_HOOKS}
"""The hooks that the gradient goes through"""
WHOLE = {"micro_batch_tokens": 10**6, "chunk_tokens": 10**6}
CUTS: Mapping[str, dict[str, int]] = {
    "one response per micro-batch": {"micro_batch_tokens": 1, "chunk_tokens": 10**6},
    "micro-batches of 60 tokens, loss chunks of 5": {"micro_batch_tokens": 60, "chunk_tokens": 5},
}
SIZES = ((1, 2, 3), (2, 2, 8), (2, 4, 20))
"""Groups, responses in each, tokens of the longest"""
LONGEST = 32
RTOL = 1e-6
MOVED = 0.05
"""Noise on the policy's weights, in standard deviations of each, so that it differs from the reference"""


def step(subject: Subject, _hook: str) -> str:
    """The gradient of an optimizer batch is the same however it is cut, and with more padding."""
    for size in SIZES:
        whole, loss = gradient(subject, size, WHOLE)
        if not bool(torch.isfinite(whole).all()):
            raise Broken(_describe_step(subject, size), f"the gradient is not finite; the loss is {loss:.4g}")
        ways = [(name, cut, 0) for name, cut in CUTS.items()] + [("whole, with 9 columns of padding", WHOLE, 9)]
        for name, cut, columns in ways:
            vector, other = gradient(subject, size, cut, columns)
            distance = float((vector - whole).norm())
            if not distance <= RTOL * float(whole.norm()) + 1e-12:
                raise Broken(
                    _describe_step(subject, size),
                    f"whole: loss {loss:.6g}, gradient norm {float(whole.norm()):.6g}; {name}: loss {other:.6g}, gradient"
                    f" {distance / max(float(whole.norm()), 1e-12):.2g} of that norm away",
                )
    return "on the embedded model, in float64"


def gradient(
    subject: Subject, size: tuple[int, int, int], cut: Mapping[str, int], columns: int = 0
) -> tuple[Tensor, float]:
    """The gradient of one optimizer batch as a vector, and its loss, with a new instance of the component."""
    pipeline = _pipeline(subject)
    learner = _learner(pipeline, cut)
    pipeline.attach(learner.metrics.add)
    learner.policy.model.zero_grad()
    try:
        batch = _responses(learner.policy, size)
        shape_and_filter(learner, batch, 0)
        batch = dataclasses.replace(estimate(learner, batch), old_logprobs=_old_logprobs(size))
        loss = accumulate_gradient(learner, widen(batch, columns))
    except PluginError as error:
        raise Broken(_describe_step(subject, size), str(error)) from error
    finally:
        pipeline.close()
    parts = [p.grad.flatten() for p in learner.policy.parameters() if p.grad is not None]
    return torch.cat(parts) if parts else torch.zeros(1), loss


def _pipeline(subject: Subject) -> Pipeline:
    """The component, and minimal ones for every stage that a step needs and it does not provide."""
    missing = [hook for hook in NEEDED if hook not in subject.hooks]
    return Pipeline([subject.build(), *minimal_providers([*missing, *subject.wrapped])])


def _learner(pipeline: Pipeline, cut: Mapping[str, int]) -> Learner:
    config, policy, reference = models()
    compared = pipeline.uses("ref_logprobs") or pipeline.providers("regularize_vocab")
    return Learner(
        config=config.model_copy(update={"train": config.train.model_copy(update=dict(cut))}),
        pipeline=pipeline,
        policy=policy,
        reference=reference if compared else None,
        engine=HfEngine(policy, 1),
        optimizer=torch.optim.SGD(policy.parameters(), 0.0),
        problems=[],
        prompt_ids=[],
        history=History.empty(0),
    )


@functools.cache
def models() -> tuple[RunConfig, Policy, Policy]:
    """The embedded model as a policy with noise added to its weights, and as the reference."""
    config = RunConfig.model_validate(
        {
            "model": {"path": "tiny"},
            "rollout": {"max_prompt_tokens": 32, "max_response_tokens": LONGEST},
            "train": {"device": "cpu"},
        }
    )
    policy = load_policy(config)
    reference = load_reference(config, policy)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in policy.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=MOVED * float(parameter.std().nan_to_num(0.1)))
    for model in (policy, reference):
        model.model.double()
        model.compute_dtype = model.head.compute_dtype = torch.float64
    return config, policy, reference


def _lengths(size: tuple[int, int, int]) -> list[int]:
    """Very different lengths, the longest first."""
    groups, samples, longest = size
    return [max(1, longest - (index * 7) % longest) for index in range(groups * samples)]


def _right(size: tuple[int, int, int]) -> list[bool]:
    return [index % 3 == 0 for index in range(size[0] * size[1])]


def _describe_step(subject: Subject, size: tuple[int, int, int]) -> str:
    rewards = [1 if right else -1 for right in _right(size)]
    return (
        f"a step with `{subject.name}`, {size[0]} group{'s' if size[0] > 1 else ''} x {size[1]} responses, scores {rewards},"
        f" lengths {_lengths(size)}"
    )


def _responses(policy: Policy, size: tuple[int, int, int]) -> Batch:
    """Random responses, as from a rollout."""
    groups, samples, _ = size
    generator = torch.Generator().manual_seed(groups)
    vocabulary = policy.head.vocabulary
    completions = [
        Completion(
            torch.randint(0, vocabulary, (length,), generator=generator).tolist(),
            (-3 * torch.rand(length, generator=generator)).tolist(),
            "length" if length == size[2] else "stop",
        )
        for length in _lengths(size)
    ]
    problems = [Problem(str(index), f"{'1' * (index + 1)}+2=", "0") for index in range(groups)]
    return build_batch(
        problems,
        [policy.encode(problem.prompt) for problem in problems],
        [completions[index * samples : (index + 1) * samples] for index in range(groups)],
        [f"response {index}" for index in range(len(completions))],
        [Score(1.0 if right else -1.0, right) for right in _right(size)],
        step=1,
        max_response_tokens=LONGEST,
    )


@functools.cache
def _old_logprobs(size: tuple[int, int, int]) -> Tensor:
    """Log-probabilities [B, T] of an old policy that differs from the present one."""
    learner = _learner(Pipeline(minimal_providers(NEEDED)), WHOLE)
    batch = _responses(learner.policy, size)
    now = old_logprobs(learner, dataclasses.replace(batch, rollout_logprobs=batch.rollout_logprobs.double()))
    generator = torch.Generator().manual_seed(1)
    return now + 0.3 * torch.randn(now.shape, generator=generator)
