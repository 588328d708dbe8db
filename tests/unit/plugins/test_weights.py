"""Token weights against the table of formulas, token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from dapoctl_dapo.weights import GroupTokenMean, TokenMean
from dapoctl_grpo.weights import ConstantLength, SequenceMean

from dapoctl import Batch
from tests.support.helpers import make_batch

LIMIT = 16
REWARDS = [[1.0, -1.0, -1.0], [1.0, -1.0], [-1.0, 1.0, 1.0, -1.0]]
LENGTHS = [4, 1, 7, 16, 2, 5, 3, 3, 9]
GROUP = [0, 0, 0, 1, 1, 2, 2, 2, 2]
COMPONENTS = [SequenceMean(), TokenMean(), GroupTokenMean(), ConstantLength()]
NAMES = ["sequence_mean", "token_mean", "group_token_mean", "constant_length"]
DROPPED: list[set[int]] = [set(), {3}, {0, 8}, {3, 4}, {0, 1, 2, 3, 4, 5, 6, 7}]

every_component = pytest.mark.parametrize("component", COMPONENTS, ids=NAMES)


def formula(name: str, row: int, dropped: set[int]) -> float:
    """The weight of a valid token of response `row`; B, P and token counts are of the responses that are not dropped."""
    kept = [index for index in range(len(LENGTHS)) if index not in dropped]
    if name == "sequence_mean":
        return 1 / (len(kept) * LENGTHS[row])
    if name == "token_mean":
        return 1 / sum(LENGTHS[index] for index in kept)
    if name == "group_token_mean":
        groups = {GROUP[index] for index in kept}
        return 1 / (len(groups) * sum(LENGTHS[index] for index in kept if GROUP[index] == GROUP[row]))
    return 1 / (len(kept) * LIMIT)


def batch_with(dropped: set[int], padding: int = 0) -> Batch:
    return make_batch(REWARDS, lengths=LENGTHS, dropped=dropped, padding=padding, max_response_tokens=LIMIT)


@pytest.mark.parametrize("dropped", DROPPED)
@pytest.mark.parametrize(("name", "component"), list(zip(NAMES, COMPONENTS, strict=True)), ids=NAMES)
def test_weights_match_the_formula(name: str, component: Any, dropped: set[int]) -> None:
    weights = component.weigh_tokens(batch_with(dropped))
    assert weights.shape == (len(LENGTHS), max(LENGTHS))
    assert weights.dtype == torch.float32
    for row, length in enumerate(LENGTHS):
        for place, weight in enumerate(weights[row].tolist()):
            expected = formula(name, row, dropped) if place < length and row not in dropped else 0.0
            assert weight == pytest.approx(expected, rel=1e-6), (row, place)


@pytest.mark.parametrize("dropped", DROPPED)
@pytest.mark.parametrize("component", COMPONENTS[:3], ids=NAMES[:3])
def test_means_sum_to_one(component: Any, dropped: set[int]) -> None:
    assert float(component.weigh_tokens(batch_with(dropped)).double().sum()) == pytest.approx(1, rel=1e-6)


def test_constant_length_sums_to_the_filled_share() -> None:
    total = float(ConstantLength().weigh_tokens(batch_with(set())).double().sum())
    assert total == pytest.approx(sum(LENGTHS) / (len(LENGTHS) * LIMIT), rel=1e-6)


def test_constant_length_takes_a_length_of_its_own() -> None:
    weights = ConstantLength(length=100).weigh_tokens(batch_with(set()))
    assert float(weights.max()) == pytest.approx(1 / (9 * 100))


@every_component
@pytest.mark.parametrize("padding", [1, 50])
def test_padding_changes_nothing(component: Any, padding: int) -> None:
    plain = component.weigh_tokens(batch_with({3}))
    padded = component.weigh_tokens(batch_with({3}, padding))
    assert torch.equal(padded[:, : plain.shape[1]], plain)
    assert not padded[:, plain.shape[1] :].any()


@every_component
def test_all_responses_masked_out_weigh_nothing(component: Any) -> None:
    weights = component.weigh_tokens(batch_with(set(range(len(LENGTHS)))))
    assert torch.equal(weights, torch.zeros_like(weights))


@every_component
def test_dropped_responses_weigh_as_if_they_were_not_there(component: Any) -> None:
    with_dropped = component.weigh_tokens(batch_with({2, 3, 4}))
    without = make_batch([[1.0, -1.0], [-1.0, 1.0, 1.0, -1.0]], lengths=[4, 1, 5, 3, 3, 9], max_response_tokens=LIMIT)
    weights = component.weigh_tokens(without)
    torch.testing.assert_close(with_dropped[[0, 1, 5, 6, 7, 8]][:, : weights.shape[1]], weights)


@every_component
def test_a_shard_divides_by_the_global_counts(component: Any) -> None:
    """Two processes with one group each: their weights add up to those of the whole batch."""
    lengths = [[4, 1], [7, 16, 2]]
    flat = [length for shard in lengths for length in shard]
    shards = [make_batch([[0.0] * len(shard)], lengths=shard, max_response_tokens=LIMIT) for shard in lengths]
    whole = make_batch([[0.0] * len(shard) for shard in lengths], lengths=flat, max_response_tokens=LIMIT)
    expected = component.weigh_tokens(whole)
    row = 0
    for shard in shards:
        shard.counts = whole.counts
        weights = component.weigh_tokens(shard)
        torch.testing.assert_close(weights, expected[row : row + len(weights), : weights.shape[1]])
        row += len(weights)


def test_one_long_response_weighs_more_in_the_token_mean_only() -> None:
    """DAPO's argument: in a sequence mean, each token of a long response counts less."""
    batch = make_batch([[1.0, -1.0]], lengths=[2, 8])
    share = {
        name: float(c.weigh_tokens(batch)[1].sum() / c.weigh_tokens(batch).sum())
        for name, c in zip(NAMES, COMPONENTS, strict=True)
    }
    assert share["sequence_mean"] == pytest.approx(0.5)
    assert share["token_mean"] == share["group_token_mean"] == pytest.approx(0.8)
