"""Small batches and tokens for tests of components.

Shapes: P groups, B responses, T tokens of the longest response and padding, N tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from dapoctl.batch import Batch, Counts, Problem, Score, Tokens


def make_batch(
    rewards: Sequence[Sequence[float]],
    *,
    lengths: Sequence[int] | None = None,
    correct: Sequence[Sequence[bool]] | None = None,
    truncated: Collection[int] = (),
    dropped: Collection[int] = (),
    padding: int = 0,
    max_response_tokens: int = 16,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """A batch from each group's rewards, which are also the scores; groups may differ in size.

    Args:
        rewards: of each response, one sequence per group
        lengths: [B] response tokens, 3 each if not given
        correct: as `rewards`; if not given, a response with a positive reward is correct
        truncated: responses (0 to B - 1) that were truncated at the limit
        dropped: responses that `mask_responses` dropped: their mask is false and they are not in `counts`
        padding: columns of T past the longest response
        max_response_tokens: the limit
        dtype: of scores and rewards; float64 lets a test compare tightly
    """
    flat = [reward for group in rewards for reward in group]
    size = len(flat)
    lengths = list(lengths) if lengths is not None else [3] * size
    right = [bool(c) for group in correct for c in group] if correct is not None else [reward > 0 for reward in flat]
    groups = [index for index, group in enumerate(rewards) for _ in group]
    width = max(lengths) + padding
    mask = torch.zeros(size, width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        mask[row, :length] = row not in dropped
    kept = [row for row in range(size) if row not in dropped]
    values = torch.tensor(flat, dtype=dtype)
    return Batch(
        problems=[Problem(str(index), f"{index}+{index}=", str(2 * index)) for index in range(len(rewards))],
        prompt_ids=[[1, 2] for _ in rewards],
        groups=torch.tensor(groups),
        texts=["" for _ in flat],
        response_ids=torch.zeros(size, width, dtype=torch.int64),
        mask=mask,
        rollout_logprobs=torch.zeros(size, width),
        scores=values.clone(),
        correct=torch.tensor(right),
        rewards=values,
        lengths=torch.tensor(lengths),
        truncated=torch.tensor([row in truncated for row in range(size)]),
        verdicts=[Score(value, is_right) for value, is_right in zip(flat, right, strict=True)],
        born=[1 for _ in rewards],
        max_response_tokens=max_response_tokens,
        step=1,
        counts=Counts(len(kept), sum(lengths[row] for row in kept), len({groups[row] for row in kept})),
        notes=[{} for _ in flat],
    )


def make_tokens(
    logprobs: Tensor,
    old_logprobs: Tensor | None = None,
    advantages: Tensor | None = None,
    *,
    rollout_logprobs: Tensor | None = None,
    sequence: Tensor | None = None,
    **optional: Tensor,
) -> Tokens:
    """Tokens of one sequence, or of several.

    Args:
        logprobs: [N]
        old_logprobs: [N]; if not given, the policy has not moved
        advantages: [N], 1 each if not given
        rollout_logprobs: [N]; if not given, the old ones
        sequence: [N] the sequence, 0, 1, ..., of each token; all of one if not given
        optional: [N] each: `ref_logprobs`, `entropy`, for components that declare them in `uses`
    """
    old = logprobs.detach() if old_logprobs is None else old_logprobs
    sequence = torch.zeros(len(logprobs), dtype=torch.int64) if sequence is None else sequence
    return Tokens(
        logprobs=logprobs,
        old_logprobs=old,
        rollout_logprobs=old if rollout_logprobs is None else rollout_logprobs,
        advantages=torch.ones_like(old) if advantages is None else advantages,
        sequence=sequence,
        sequences=int(sequence.max()) + 1 if len(sequence) else 0,
        optional=optional,
    )
