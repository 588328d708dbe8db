"""Building, joining and dealing out batches.

Shapes: P prompts, B responses, T tokens of the longest response.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from dapoctl.batch import Batch, Counts, Problem, Score
from dapoctl.engines import Completion

ROW_FIELDS = ("response_ids", "mask", "rollout_logprobs")
"""Of shape [B, T]"""
RESPONSE_FIELDS = ("groups", "scores", "correct", "rewards", "lengths", "truncated")
"""Of shape [B]"""


def build_batch(
    problems: Sequence[Problem],
    prompt_ids: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Completion]],
    texts: Sequence[str],
    verdicts: Sequence[Score],
    *,
    step: int,
    max_response_tokens: int,
) -> Batch:
    """A batch of freshly sampled and scored responses, grouped by prompt; rewards are the scores."""
    flat = [completion for group in completions for completion in group]
    groups = [index for index, group in enumerate(completions) for _ in group]
    lengths = torch.tensor([len(completion.token_ids) for completion in flat])
    scores = torch.tensor([verdict.value for verdict in verdicts], dtype=torch.float32)
    batch = Batch(
        problems=list(problems),
        prompt_ids=[list(ids) for ids in prompt_ids],
        groups=torch.tensor(groups),
        texts=list(texts),
        response_ids=pad_sequence([torch.tensor(c.token_ids) for c in flat], batch_first=True),
        mask=torch.arange(int(lengths.max())) < lengths[:, None],
        rollout_logprobs=pad_sequence([torch.tensor(c.logprobs, dtype=torch.float32) for c in flat], batch_first=True),
        scores=scores,
        correct=torch.tensor([verdict.correct for verdict in verdicts]),
        rewards=scores.clone(),
        lengths=lengths,
        truncated=torch.tensor([completion.finish_reason == "length" for completion in flat]),
        verdicts=list(verdicts),
        born=[step] * len(problems),
        max_response_tokens=max_response_tokens,
        step=step,
        counts=Counts(0, 0, 0),
        notes=[{} for _ in flat],
    )
    return recount(batch)


def is_sharded() -> bool:
    """Whether batches are spread over several processes; an engine may set up a group of one for itself."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def recount(batch: Batch) -> Batch:
    """`batch` with `counts` of what its mask holds, summed over processes."""
    responses = batch.mask.any(dim=1)
    groups = torch.unique(batch.groups[responses])
    local = torch.tensor([int(responses.sum()), int(batch.mask.sum()), len(groups)])
    if is_sharded():
        torch.distributed.all_reduce(local)
    counts = Counts(*(int(value) for value in local))
    return dataclasses.replace(batch, counts=counts)


def select_groups(batch: Batch, wanted: Sequence[int]) -> Batch:
    """The groups `wanted`, in that order, without padding that no response needs."""
    rows = [row for group in wanted for row in torch.nonzero(batch.groups == group).flatten().tolist()]
    index = torch.tensor(rows, dtype=torch.long)
    renumbered = {old: new for new, old in enumerate(wanted)}
    lengths = batch.lengths[index]
    width = int(lengths.max()) if rows else 0
    changes: dict[str, Any] = {name: getattr(batch, name)[index][:, :width] for name in ROW_FIELDS}
    changes |= {name: getattr(batch, name)[index] for name in RESPONSE_FIELDS}
    changes["groups"] = torch.tensor([renumbered[int(group)] for group in batch.groups[index]], dtype=torch.long)
    changes["terms"] = {name: term[index] for name, term in batch.terms.items()}
    for name in ("advantages", "old_logprobs"):
        values = getattr(batch, name)
        changes[name] = None if values is None else values[index][:, :width]
    for name in ("problems", "prompt_ids", "born"):
        changes[name] = [getattr(batch, name)[group] for group in wanted]
    for name in ("texts", "verdicts", "notes"):
        changes[name] = [getattr(batch, name)[row] for row in rows]
    return recount(dataclasses.replace(batch, **changes))


def join(batches: Sequence[Batch], step: int) -> Batch:
    """One batch of all groups, padded to the longest response."""
    first = batches[0]
    width = max(batch.response_ids.shape[1] for batch in batches)
    offsets = [sum(len(batch.problems) for batch in batches[:place]) for place in range(len(batches))]
    changes: dict[str, Any] = {
        name: torch.cat(
            [torch.nn.functional.pad(getattr(b, name), (0, width - b.response_ids.shape[1])) for b in batches]
        )
        for name in ROW_FIELDS
    }
    changes |= {name: torch.cat([getattr(batch, name) for batch in batches]) for name in RESPONSE_FIELDS}
    changes["groups"] = torch.cat([batch.groups + offset for batch, offset in zip(batches, offsets, strict=True)])
    changes["terms"] = {name: torch.cat([batch.terms[name] for batch in batches]) for name in first.terms}
    for name in ("problems", "prompt_ids", "born", "texts", "verdicts", "notes"):
        changes[name] = [item for batch in batches for item in getattr(batch, name)]
    return recount(dataclasses.replace(first, step=step, **changes))


def optimizer_batches(batch: Batch, updates: int, generator: torch.Generator) -> list[Batch]:
    """The batch's groups dealt out at random to `updates` batches of nearly equal size, fewer when there are too few."""
    groups = len(batch.problems)
    updates = min(updates, groups)
    if updates == 1:
        return [batch]
    order = torch.randperm(groups, generator=generator).tolist()
    return [select_groups(batch, sorted(order[place::updates])) for place in range(updates)]
