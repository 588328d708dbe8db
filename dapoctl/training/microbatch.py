"""Cutting an optimizer batch into what goes through the model at once.

Shapes: B responses, T tokens of the longest, N valid tokens of a micro-batch of b responses, L input tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dapoctl.batch import Batch
from dapoctl.models.packing import ALONE, SIMILAR, Layout, pack
from dapoctl.models.policy import Policy

Part = tuple[int, list[int]]
"""(group, rows of it)"""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Responses of a batch that go through the model together, packed into one row or padded to the longest."""

    rows: Tensor
    """[b] int64, indices into the batch"""
    ids: Tensor
    """[1, L] packed, [b, L] padded: prompts and responses; the last token of a response is not needed as input"""
    positions: Tensor
    """Of the shape of `ids`: each token's position in its own sequence"""
    layout: Layout | None
    """How the tokens are packed; None when they are padded"""
    attention_mask: Tensor | None
    """[b, L] when they are padded"""
    where: Tensor
    """[N] int64: the place in the flattened `ids` of the token whose hidden state predicts each valid token"""
    targets: Tensor
    """[N]"""
    sequence: Tensor
    """[N] the response, 0 to b - 1, of each valid token"""
    mask: Tensor
    """[b, T] bool"""

    def flat(self, values: Tensor) -> Tensor:
        """The valid tokens of `values` [B, T], as [N] on the micro-batch's device."""
        return values[self.rows][self.mask].to(self.targets.device)


def micro_batches(
    batch: Batch, budget: int, device: torch.device, packed: bool = True, similar: float = SIMILAR
) -> Iterator[MicroBatch]:
    """The responses with valid tokens, cut so that no micro-batch has more than `budget` input tokens.

    Packed, a prompt counts once for the responses of its group. Padded, padding counts. A response that is longer than
    the budget goes alone. `similar` is as in `pack`.
    """
    if packed:
        for parts in _packed_cuts(batch, budget):
            yield _packed(batch, parts, device, similar)
    else:
        for parts in _padded_cuts(batch, budget):
            yield _padded(batch, parts, device)


def micro_batches_for(policy: Policy, batch: Batch, budget: int) -> Iterator[MicroBatch]:
    """The same as the policy takes them."""
    return micro_batches(batch, budget, policy.device, policy.packs, ALONE if policy.varlen else SIMILAR)


def hidden_states(policy: Policy, part: MicroBatch) -> Tensor:
    """[N, D]: the state that predicts each valid token."""
    if part.layout is not None:
        states = policy.packed_hidden(part.ids, part.positions, part.layout)
    else:
        assert part.attention_mask is not None
        states = policy.hidden(part.ids, part.attention_mask, use_cache=False).last_hidden_state
    return states.flatten(0, 1).index_select(0, part.where)


def _rows(batch: Batch) -> list[list[int]]:
    """The rows of each group that have valid tokens, the longest response first."""
    groups: list[list[int]] = [[] for _ in batch.problems]
    for row in torch.argsort(batch.lengths, descending=True, stable=True).tolist():
        if bool(batch.mask[row].any()):
            groups[int(batch.groups[row])].append(row)
    return groups


def _packed_cuts(batch: Batch, budget: int) -> Iterator[list[Part]]:
    parts: list[Part] = []
    size = 0
    for group, rows in enumerate(_rows(batch)):
        for row in rows:
            more = int(batch.lengths[row]) - 1
            prompt = 0 if parts and parts[-1][0] == group else len(batch.prompt_ids[group])
            if parts and size + prompt + more > budget:
                yield parts
                parts, size, prompt = [], 0, len(batch.prompt_ids[group])
            if prompt:
                parts.append((group, []))
            parts[-1][1].append(row)
            size += prompt + more
    if parts:
        yield parts


def _padded_cuts(batch: Batch, budget: int) -> Iterator[list[Part]]:
    sizes = {
        row: len(batch.prompt_ids[group]) + int(batch.lengths[row]) - 1
        for group, rows in enumerate(_rows(batch))
        for row in rows
    }
    order = sorted(sizes, key=lambda row: -sizes[row])
    while order:
        count = max(1, budget // sizes[order[0]])
        yield [(int(batch.groups[row]), [row]) for row in order[:count]]
        order = order[count:]


def _packed(batch: Batch, parts: Sequence[Part], device: torch.device, similar: float) -> MicroBatch:
    ids: list[Tensor] = []
    positions: list[Tensor] = []
    where: list[Tensor] = []
    shapes: list[tuple[int, list[int]]] = []
    start = 0
    for group, rows in parts:
        prompt = batch.prompt_ids[group]
        lengths = [int(batch.lengths[row]) - 1 for row in rows]
        shapes.append((len(prompt), lengths))
        ids.append(torch.tensor(prompt))
        positions.append(torch.arange(len(prompt)))
        last, start = start + len(prompt) - 1, start + len(prompt)
        for row, length in zip(rows, lengths, strict=True):
            ids.append(batch.response_ids[row, :length])
            positions.append(torch.arange(len(prompt), len(prompt) + length))
            where.append(torch.cat([torch.tensor([last]), torch.arange(start, start + length)]))
            start += length
    return _micro_batch(
        batch,
        [row for _, rows in parts for row in rows],
        where,
        device,
        ids=torch.cat(ids)[None],
        positions=torch.cat(positions)[None],
        layout=pack(shapes, similar),
    )


def _padded(batch: Batch, parts: Sequence[Part], device: torch.device) -> MicroBatch:
    rows = [row for _, part in parts for row in part]
    prompts = [batch.prompt_ids[group] for group, _ in parts]
    sequences = [
        torch.cat([torch.tensor(prompt), batch.response_ids[row, : int(batch.lengths[row]) - 1]])
        for row, prompt in zip(rows, prompts, strict=True)
    ]
    ids = pad_sequence(sequences, batch_first=True)
    where = [
        torch.arange(len(prompt) - 1, len(sequence)) + place * ids.shape[1]
        for place, (prompt, sequence) in enumerate(zip(prompts, sequences, strict=True))
    ]
    return _micro_batch(
        batch,
        rows,
        where,
        device,
        ids=ids,
        positions=torch.arange(ids.shape[1]).expand(ids.shape),
        attention_mask=pad_sequence([torch.ones_like(s) for s in sequences], batch_first=True),
    )


def _micro_batch(
    batch: Batch,
    rows: list[int],
    where: Sequence[Tensor],
    device: torch.device,
    *,
    ids: Tensor,
    positions: Tensor,
    layout: Layout | None = None,
    attention_mask: Tensor | None = None,
) -> MicroBatch:
    index = torch.tensor(rows)
    mask = batch.mask[index]
    whole = torch.arange(mask.shape[1]) < batch.lengths[index][:, None]
    sequence, _ = torch.nonzero(mask, as_tuple=True)
    return MicroBatch(
        rows=index,
        ids=ids.to(device),
        positions=positions.to(device),
        layout=None if layout is None else layout.to(device),
        attention_mask=None if attention_mask is None else attention_mask.to(device),
        where=torch.cat(list(where))[mask[whole]].to(device),
        targets=batch.response_ids[index][mask].to(device),
        sequence=sequence.to(device),
        mask=mask,
    )
