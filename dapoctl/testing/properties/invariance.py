"""Properties of results under changes of the input that must not matter, or matter in a known way.

Shapes: P groups, B responses, T tokens of the longest response and padding, N tokens of a micro-batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dapoctl.batch import Batch, Counts, Tokens
from dapoctl.testing.cases import BatchCase, TokenCase, VocabCase
from dapoctl.testing.properties.randomness import draws
from dapoctl.testing.results import Broken, Unchecked
from dapoctl.testing.subject import BATCH_HOOKS, VOCAB_HOOKS, Subject, call
from dapoctl.testing.values import close, show

PER_RESPONSE = ("groups", "scores", "correct", "rewards", "lengths", "truncated")
PER_TOKEN = ("response_ids", "mask", "rollout_logprobs", "advantages", "old_logprobs")
DTYPE = torch.float64


def padding(subject: Subject, hook: str) -> str:
    """More columns of padding change nothing at the tokens that count."""
    for case in subject.cases(hook):
        assert isinstance(case, BatchCase)
        batch = case.batch(DTYPE)
        plain = subject.call(hook, case)
        with subject.opened() as pipeline:
            padded = call(pipeline, hook, {"batch": widen(case.batch(DTYPE), 3)}, f"{case}, 3 more columns of padding")
        first, second = plain, padded
        if plain.dim() == 2 and padded.dim() == 2:
            first, second = (values[:, : batch.mask.shape[1]][batch.mask] for values in (plain, padded))
        if not close(first, second):
            raise Broken(case, f"{show(plain)}; with 3 more columns of padding {show(padded)}")
    return ""


def widen(batch: Batch, columns: int) -> Batch:
    """`batch` with `columns` more columns of padding."""
    values = {name: getattr(batch, name) for name in PER_TOKEN}
    pad = torch.nn.functional.pad
    changes: dict[str, Any] = {name: pad(v, (0, columns)) for name, v in values.items() if v is not None}
    return dataclasses.replace(batch, **changes)


def rows_of(batch: Batch, rows: Sequence[int]) -> Batch:
    """The responses `rows` in that order; counts and width stay."""
    index = torch.tensor(rows)
    changes: dict[str, Any] = {name: getattr(batch, name)[index] for name in PER_RESPONSE}
    changes |= {name: values[index] for name in PER_TOKEN if (values := getattr(batch, name)) is not None}
    changes |= {name: [getattr(batch, name)[row] for row in rows] for name in ("texts", "verdicts", "notes")}
    return dataclasses.replace(batch, **changes)


def group_order(subject: Subject, hook: str) -> str:
    """The same groups with other indices: each response, or each group, gets the same result."""
    for case in subject.cases(hook):
        assert isinstance(case, BatchCase)
        count = len(case.rewards)
        if count < 2:
            continue
        plain = subject.call(hook, case)
        batch = case.batch(DTYPE)
        order = [*range(1, count), 0]
        changes: dict[str, Any] = {
            name: [getattr(batch, name)[group] for group in order] for name in ("problems", "prompt_ids", "born")
        }
        changes["groups"] = torch.tensor([order.index(int(group)) for group in batch.groups])
        moved = dataclasses.replace(batch, **changes)
        with subject.opened() as pipeline:
            result = call(pipeline, hook, {"batch": moved}, f"{case}, groups in order {order}")
        expected = plain[torch.tensor(order)] if hook == "filter_groups" else plain
        if not close(result, expected):
            _excuse(subject, hook, case)
            raise Broken(case, f"with the groups numbered {order}: {show(result)} in place of {show(expected)}")
    return ""


def response_order(subject: Subject, hook: str) -> str:
    """Responses in another order, within their groups and across them: each gets the same result."""
    check = _batch_order if hook in BATCH_HOOKS else _token_order
    for case in subject.cases(hook):
        check(subject, hook, case)
    return ""


def _batch_order(subject: Subject, hook: str, case: Any) -> None:
    size = len(case.lengths)
    plain = subject.call(hook, case)
    for order in ([*reversed(range(size))], [*range(1, size, 2), *range(0, size, 2)])[: size - 1]:
        with subject.opened() as pipeline:
            result = call(
                pipeline, hook, {"batch": rows_of(case.batch(DTYPE), order)}, f"{case}, responses in order {order}"
            )
        expected = plain if hook == "filter_groups" else plain[torch.tensor(order)]
        if not close(result, expected):
            _excuse(subject, hook, case)
            raise Broken(case, f"with the responses in order {order}: {show(result)} in place of {show(expected)}")


def _excuse(subject: Subject, hook: str, case: Any) -> None:
    """Excuse a component that draws noise: it does so in some order, and none is the right one."""
    with subject.opened() as pipeline:
        if draws(pipeline, hook, case.arguments(DTYPE), case):
            raise Unchecked("it draws random numbers, response by response")


def _token_order(subject: Subject, hook: str, case: Any) -> None:
    tokens = case.tokens(DTYPE)
    if tokens.sequences < 2:
        return
    order = [*reversed(range(tokens.sequences))]
    index = torch.cat([torch.nonzero(tokens.sequence == sequence_index).flatten() for sequence_index in order])
    plain = subject.call(hook, case)
    with subject.opened() as pipeline:
        result = call(pipeline, hook, {"tokens": pick(tokens, index)}, f"{case}, sequences in order {order}")
    if not close(result, plain[index]):
        raise Broken(case, f"with the sequences in order {order}: {show(result)} in place of {show(plain[index])}")


def pick(tokens: Tokens, index: Tensor, complete: bool = True) -> Tokens:
    """The tokens `index`; their sequences, if they are complete, are renumbered."""
    names = ("logprobs", "old_logprobs", "rollout_logprobs", "advantages", "sequence")
    changes = {name: getattr(tokens, name)[index] for name in names}
    sequences = tokens.sequences
    if complete:
        _, changes["sequence"] = torch.unique(changes["sequence"], return_inverse=True)
        sequences = int(changes["sequence"].max()) + 1
    optional = {name: values[index] for name, values in tokens.optional.items()}
    return dataclasses.replace(tokens, **changes, sequences=sequences, complete=complete, optional=optional)


def cut(subject: Subject, hook: str) -> str:
    """All tokens at once, or one sequence (one token of a vocabulary chunk) after the other: the same for each token."""
    for case in subject.cases(hook):
        plain = subject.call(hook, case)
        parts = _chunks(case) if hook in VOCAB_HOOKS else _sequences(case)
        if len(parts) < 2:
            continue
        with subject.opened() as pipeline:
            result = torch.cat([call(pipeline, hook, part, f"a part of {case}") for part in parts])
        if not close(result, plain):
            what = "token" if hook in VOCAB_HOOKS else "sequence"
            raise Broken(case, f"all at once {show(plain)}; one {what} at a time {show(result)}")
    return ""


def _chunks(case: Any) -> list[dict[str, Any]]:
    assert isinstance(case, VocabCase)
    arguments = case.arguments(DTYPE)
    return [{name: values[row : row + 1] for name, values in arguments.items()} for row in range(case.tokens)]


def _sequences(case: Any) -> list[dict[str, Any]]:
    assert isinstance(case, TokenCase)
    tokens = case.tokens(DTYPE)
    positions = [
        torch.nonzero(tokens.sequence == sequence_index).flatten() for sequence_index in range(tokens.sequences)
    ]
    return [{"tokens": pick(tokens, index)} for index in positions]


def mask(subject: Subject, hook: str) -> str:
    """Weights are zero where the mask is false."""
    for case in subject.cases(hook):
        assert isinstance(case, BatchCase)
        outside = subject.call(hook, case)[~case.batch(DTYPE).mask]
        if bool(outside.any()):
            raise Broken(case, f"weights at tokens that do not count: {show(outside)}")
    return ""


def counts(subject: Subject, hook: str) -> str:
    """A process with some of the groups, and `batch.counts` of all, gives its tokens their weights in the whole batch."""
    for case in subject.cases(hook):
        assert isinstance(case, BatchCase)
        if len(case.rewards) < 2:
            continue
        batch = case.batch(DTYPE)
        rows = torch.nonzero(batch.groups == 0).flatten()
        half = rows_of(batch, rows.tolist())
        half = dataclasses.replace(
            half, problems=batch.problems[:1], prompt_ids=batch.prompt_ids[:1], born=batch.born[:1]
        )
        where = f"{case}; the first group alone, with {_describe_counts(batch.counts)} counted over all"
        with subject.opened() as pipeline:
            result = call(pipeline, hook, {"batch": half}, where)
        expected = subject.call(hook, case)[rows]
        if not close(result[half.mask], expected[half.mask]):
            raise Broken(where, f"weights {show(result[half.mask])} in place of {show(expected[half.mask])}")
    return ""


def _describe_counts(counts: Counts) -> str:
    return f"{counts.responses} responses, {counts.tokens} tokens, {counts.groups} groups"
