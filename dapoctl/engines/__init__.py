"""Rollout engines: what samples responses. One interface, one component per engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn."""

    max_tokens: int
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    seed: int = 0
    """The same seed, engine, weights and machine give the same completions."""
    seeds: Sequence[int] = ()
    """One for each prompt, in place of `seed`: what is drawn for a prompt does not depend on the other prompts. Only
    the last bits of its probabilities may, because an engine computes several prompts together."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled response."""

    token_ids: Sequence[int]
    """The end-of-sequence token is the last one when `finish_reason` is "stop"."""
    logprobs: Sequence[float]
    """Of each token under the distribution it was drawn from: temperature and top_p applied, renormalised. Of a greedy
    response: at temperature 1."""
    finish_reason: Literal["stop", "length"]


class Engine(Protocol):
    """Samples responses from a copy of, or a view on, the policy's weights."""

    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
        """`n` completions for each prompt, in the order of `prompt_ids`.

        An engine that reports progress has an attribute `progress`, and calls `self.progress(done, total)`, counted in
        responses. One that finishes some prompts before others has an attribute `finished`, and calls
        `self.finished(index, completions)` for each prompt, once, as soon as its last completion is done, with its index in
        `prompt_ids` and its completions. Both are set by the caller, and may raise to end the call.
        """
        ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load the policy's weights: (name, tensor) pairs in the names of the model's checkpoint.

        An engine that keeps them in a type of fewer bits, where rounding would swallow small changes, has an attribute `rounds`
        that is true: then the run measures what share of the changes reach it.
        """
        ...

    def sleep(self) -> None:
        """Free the memory that generation needs, until `wake`."""
        ...

    def wake(self) -> None:
        """Be ready to generate again."""
        ...

    def close(self) -> None:
        """Release everything; the engine is not used again."""
        ...


__all__ = ["Completion", "Engine", "Sampling"]
