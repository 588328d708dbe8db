"""The data that flows through a training step.

Shapes: P prompts (groups), B responses, T tokens of the longest response, N valid tokens of a micro-batch.
Nothing here imports torch, so that plugin modules can be listed and configured without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dapoctl.errors import PluginError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Outcome = Literal["right", "wrong", "unanswered", "timeout", "error"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One task item: what the model is asked, and the ground truth."""

    id: str
    prompt: str
    answer: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """A verifier's verdict: `value` is the reward, `correct` what filters and accuracies count."""

    value: float
    correct: bool
    extracted: str | None = None
    outcome: Outcome = "wrong"
    marked: bool | None = field(default=None, compare=False)
    """Whether the response marks its final answer as such; None where the task does not say."""


@dataclass(frozen=True, slots=True)
class Refill:
    """How the trainer looks for groups that pass the filters."""

    max_rounds: int = 10
    """Rounds of sampling per step, the first included."""
    on_exhausted: Literal["train_partial", "skip", "error"] = "train_partial"
    """What happens when `max_rounds` did not fill the batch."""
    max_staleness: int = 0
    """Steps for which a surplus group may wait to be trained on; 0 discards it."""


@dataclass(slots=True)
class PromptPool:
    """The training problems and their history: `attempts`, `solved` and `last_step` are arrays over problems."""

    problems: Sequence[Problem]
    attempts: NDArray[np.int64]
    """Responses sampled so far."""
    solved: NDArray[np.int64]
    """Correct ones among them."""
    last_step: NDArray[np.int64]
    """The step that sampled the problem last; -1 for never."""
    seed: int
    """The run's seed, for orders that must not change on resume."""
    step: int
    rng: np.random.Generator
    """A generator for this call alone, a function of the seed, the step and the round."""

    def __len__(self) -> int:
        return len(self.problems)


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of the optimizer batch over all processes; responses that are masked out do not count."""

    responses: int
    tokens: int
    groups: int


@dataclass(slots=True)
class Batch:
    """Responses with their prompts and rewards. Tensors are read-only to components."""

    problems: list[Problem]
    """[P]"""
    prompt_ids: list[list[int]]
    """[P], unpadded"""
    groups: Tensor
    """[B] int64: the group, an index into `problems`, of each response"""
    texts: list[str]
    """[B]"""
    response_ids: Tensor
    """[B, T] int64, right-padded; the end-of-sequence token is included"""
    mask: Tensor
    """[B, T] bool: the tokens that count. A response that `mask_responses` dropped has none"""
    rollout_logprobs: Tensor
    """[B, T] float32, under the policy that sampled them (temperature and top_p applied)"""
    scores: Tensor
    """[B] float32, the verifier's"""
    correct: Tensor
    """[B] bool"""
    rewards: Tensor
    """[B] float32: `scores` plus every shaping term"""
    lengths: Tensor
    """[B] int64, response tokens"""
    truncated: Tensor
    """[B] bool: truncated at the token limit"""
    verdicts: list[Score]
    """[B]"""
    born: list[int]
    """[P]: the step whose policy sampled the group"""
    max_response_tokens: int
    step: int
    counts: Counts
    notes: list[dict[str, Any]] = field(default_factory=list)
    """[B]: what is written to disk for each response"""
    terms: dict[str, Tensor] = field(default_factory=dict)
    """Each shaping term [B] under its component's name"""
    advantages: Tensor | None = None
    """[B, T] once estimated"""
    old_logprobs: Tensor | None = None
    """[B, T] before this step's updates, if there are several updates or a stale group"""

    def group_sum(self, values: Tensor) -> Tensor:
        """Sum of `values` [B] over each group, [P]."""
        return values.new_zeros(len(self.problems)).index_add(0, self.groups, values)

    def group_sizes(self) -> Tensor:
        """Responses in each group, [P] float32."""
        return self.group_sum(self.rewards.new_ones(len(self.texts)))

    def group_mean(self, values: Tensor) -> Tensor:
        """Mean of `values` [B] over each group, [P]."""
        return self.group_sum(values) / self.group_sizes().clamp(min=1)


@dataclass(slots=True)
class Tokens:
    """The valid tokens of a micro-batch of whole sequences, flattened; no padding, no vocabulary."""

    logprobs: Tensor
    """[N] float32 under the policy being trained; the gradient flows through these"""
    old_logprobs: Tensor
    """[N] float32 under the policy before this step's updates"""
    rollout_logprobs: Tensor
    """[N] float32 under the policy that sampled the tokens"""
    advantages: Tensor
    """[N]"""
    sequence: Tensor
    """[N] int64: the response, 0 to sequences - 1, that each token belongs to"""
    sequences: int
    complete: bool = True
    """Whether these are whole sequences; false for the slices that `per_token` components are given"""
    optional: dict[str, Tensor] = field(default_factory=dict)

    @property
    def ref_logprobs(self) -> Tensor:
        """[N] float32 under the reference. Declare `uses = frozenset({"ref_logprobs"})`."""
        return self._declared("ref_logprobs")

    @property
    def entropy(self) -> Tensor:
        """[N] float32 of the policy's distribution, differentiable. Declare `uses = frozenset({"entropy"})`."""
        return self._declared("entropy")

    def sequence_mean(self, values: Tensor) -> Tensor:
        """Mean of `values` [N] over each token's sequence, broadcast back to [N].

        A component that calls this keeps `per_token = False`.
        """
        counts = self._sums(values.new_ones(values.shape), "tokens.sequence_mean")
        return (self._sums(values, "tokens.sequence_mean") / counts.clamp(min=1))[self.sequence]

    def sequence_sum(self, values: Tensor) -> Tensor:
        """Sum of `values` [N] over each token's sequence, broadcast back to [N].

        A component that calls this keeps `per_token = False`.
        """
        return self._sums(values, "tokens.sequence_sum")[self.sequence]

    def _sums(self, values: Tensor, caller: str) -> Tensor:
        if not self.complete:
            raise PluginError(
                f"{caller} needs whole sequences; remove `per_token = True` from the component, or let"
                " `is_per_token` say when it needs them"
            )
        return values.new_zeros(self.sequences).index_add(0, self.sequence, values)

    def _declared(self, name: str) -> Tensor:
        if name not in self.optional:
            raise PluginError(
                f"tokens.{name} was not computed because no component asked for it; "
                f'add `uses = frozenset({{"{name}"}})` to the component class'
            )
        return self.optional[name]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What observers learn about a run."""

    id: str
    directory: Path
    config: Mapping[str, Any]
    """The resolved configuration"""
    components: Sequence[str]
    steps: int
    start_step: int = 0
    """Steps done before this attempt"""
