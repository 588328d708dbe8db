"""The simplest provider of every hook: for the rest of a step around a component, and for its hook wrappers to wrap.

Shapes: P groups, B responses, T tokens of the longest response, N tokens, n tokens of a vocabulary chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from dapoctl.batch import Batch, Problem, PromptPool, Refill, Score, Tokens
from dapoctl.components.base import Component, stages_of
from dapoctl.engines.hf import Hf
from dapoctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Problems(Component):
    @hookimpl
    def load_problems(self, split: str) -> list[Problem]:
        return [Problem(f"{split} {index}", f"{split} {index}+1=", str(index + 1)) for index in range(3)]


class Prompts(Component):
    @hookimpl
    def select_prompts(self, pool: PromptPool, count: int) -> Sequence[int]:
        return [index % len(pool) for index in range(count)]


class ExactVerifier(Component):
    @hookimpl
    def score_response(self, problem: Problem, text: str) -> Score:
        right = text == problem.answer
        return Score(1.0 if right else 0.0, right, text, "right" if right else "wrong")


class Shaping(Component):
    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return batch.rewards * 0.5


class Filter(Component):
    @hookimpl
    def filter_groups(self, batch: Batch) -> Tensor:
        return batch.group_sum(batch.rewards) > 0


class RefillPlan(Component):
    @hookimpl
    def plan_refill(self) -> Refill:
        return Refill()


class Advantages(Component):
    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        return batch.rewards - batch.group_mean(batch.rewards)[batch.groups]


class Mask(Component):
    @hookimpl
    def mask_responses(self, batch: Batch) -> Tensor:
        return ~batch.truncated


class Weights(Component):
    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        return batch.mask / max(batch.counts.tokens, 1)


class Objective(Component):
    per_token: ClassVar[bool] = True

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        return -tokens.advantages * (tokens.logprobs - tokens.old_logprobs).clamp(-20, 20).exp()


class Penalty(Component):
    per_token: ClassVar[bool] = True

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        return 0.01 * tokens.logprobs


class VocabularyPenalty(Component):
    @hookimpl
    def regularize_vocab(self, logits: Tensor, ref_logits: Tensor) -> Tensor:
        return 0.01 * (logits - ref_logits).square().mean(-1)


class Observer(Component):
    @hookimpl
    def on_run_start(self) -> None:
        """Nothing to do."""

    @hookimpl
    def on_step_end(self) -> None:
        """Nothing to do."""

    @hookimpl
    def on_run_end(self) -> None:
        """Nothing to do."""


MINIMAL: tuple[type[Component], ...] = (
    Problems, Prompts, ExactVerifier, Shaping, Filter, RefillPlan, Advantages, Mask, Weights, Objective, Penalty,
    VocabularyPenalty, Observer, Hf,
)  # fmt: skip
BY_HOOK = {hook: cls for cls in MINIMAL for hook in stages_of(cls)}


def minimal_providers(hooks: Sequence[str]) -> list[Component]:
    """A provider of each of `hooks`, under a name of its own."""
    providers = []
    for cls in dict.fromkeys(BY_HOOK[hook] for hook in hooks if hook in BY_HOOK):
        component = cls()
        component.attach(f"minimal {cls.__name__}")
        providers.append(component)
    return providers
