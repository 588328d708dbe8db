"""Real learners on small real transformers, for tests of the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dapoctl import Batch, Completion, Component, Problem, Score
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.resolver import build, choose
from dapoctl.config import RunConfig
from dapoctl.engines.hf import HfEngine
from dapoctl.models.loading import load_policy, load_reference
from dapoctl.models.policy import Policy
from dapoctl.training.batching import build_batch
from dapoctl.training.learner import History, Learner
from dapoctl.training.optimizer import build_optimizer


def make_learner(
    plugins: Sequence[str],
    *,
    tables: dict[str, dict[str, Any]] | None = None,
    extra: Sequence[Component] = (),
    move_policy: float = 0.0,
    **config: Any,
) -> Learner:
    """A learner on `tiny`; the policy is moved away from the reference by noise of scale `move_policy`.

    `extra` components replace the recipe's in exactly-one stages.
    """
    values: dict[str, Any] = {
        "model": {"path": "tiny"},
        "rollout": {"max_prompt_tokens": 32, "max_response_tokens": 64},
    }
    settings = RunConfig(**(values | config))
    chosen = choose(settings.recipe, list(plugins), [settings.task, settings.engine])
    pipeline = build(chosen, tables or {})
    if extra:
        stages = {hook for part in extra for hook in Pipeline([part]).stages()}
        kept = [c for c in pipeline.components.values() if not stages.intersection(Pipeline([c]).stages())]
        pipeline = Pipeline([*kept, *extra])
    policy = load_policy(settings)
    reference = None
    if pipeline.uses("ref_logprobs") or pipeline.providers("regularize_vocab"):
        reference = load_reference(settings, policy)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in policy.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=move_policy * float(parameter.std().nan_to_num(0.1)))
    learner = Learner(
        config=settings,
        pipeline=pipeline,
        policy=policy,
        reference=reference,
        engine=HfEngine(policy, 256),
        optimizer=build_optimizer(settings, policy),
        problems=[],
        prompt_ids=[],
        history=History.empty(0),
    )
    pipeline.attach(learner.metrics.add)
    return learner


def move(policy: Policy, scale: float = 0.05) -> None:
    """Adapters as training might leave them: B no longer zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)


def in_float64(learner: Learner) -> Learner:
    """The learner with models in float64, where different ways to compute the same thing agree to the last digits."""
    for policy in (learner.policy, learner.reference):
        if policy is not None:
            policy.model.double()
            policy.compute_dtype = policy.head.compute_dtype = torch.float64
    return learner


def responses_batch(policy: Policy, groups: int = 3, samples: int = 4, longest: int = 40, seed: int = 0) -> Batch:
    """Random responses of very different lengths with random scores, as a rollout would give."""
    generator = torch.Generator().manual_seed(seed)

    def number(high: int, low: int = 0) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    vocabulary = policy.head.linear.weight.shape[0]
    problems = [Problem(str(i), "1" * number(9, 2) + "+2=", "0") for i in range(groups)]
    completions = []
    for place, _ in enumerate(problems):
        lengths = [number(longest + 1, 1) for _ in range(samples)]
        lengths[0] = longest if place == 0 else lengths[0]
        completions.append(
            [
                Completion(
                    torch.randint(0, vocabulary, (n,), generator=generator).tolist(),
                    (-3 * torch.rand(n, generator=generator)).tolist(),
                    "length" if n == longest else "stop",
                )
                for n in lengths
            ]
        )
    right = [number(2) == 1 for _ in range(groups * samples)]
    right[0], right[1] = True, False
    return build_batch(
        problems,
        [policy.encode(problem.prompt) for problem in problems],
        completions,
        ["" for _ in right],
        [Score(1.0 if r else -1.0, r) for r in right],
        step=1,
        max_response_tokens=64,
    )


def gradients(learner: Learner) -> torch.Tensor:
    """All gradients as one vector."""
    return torch.cat([p.grad.flatten() for p in learner.policy.parameters() if p.grad is not None])
