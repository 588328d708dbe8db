"""Soft overlong punishment at its corners, and the overlong filter."""

from __future__ import annotations

import pytest
import torch
from dapoctl_dapo.overlong import Overlong, OverlongFilter

from dapoctl import Batch, UserError
from dapoctl.config import RunConfig
from dapoctl.config.schema import RolloutConfig
from tests.support.helpers import make_batch


def batch_of(lengths: list[int], limit: int) -> Batch:
    """Lengths as given; the tokens themselves play no part, so there are few of them."""
    batch = make_batch([[1.0] * len(lengths)], max_response_tokens=limit)
    batch.lengths = torch.tensor(lengths)
    return batch


def formula(length: int, limit: int, buffer: int, factor: float) -> float:
    """DAPO's Eq. 13."""
    if length <= limit - buffer:
        return 0.0
    if length <= limit:
        return factor * ((limit - buffer) - length) / buffer
    return -factor


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(("limit", "buffer"), [(100, 20), (100, 1), (100, 100), (7, 3)])
def test_punishment_matches_the_formula_at_every_length(limit: int, buffer: int, factor: float) -> None:
    lengths = list(range(1, limit + 3))
    got = Overlong(buffer=buffer, factor=factor).shape_rewards(batch_of(lengths, limit))
    expected = [formula(length, limit, buffer, factor) for length in lengths]
    assert got.shape == (len(lengths),)
    assert got.dtype == torch.float32
    assert got.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_paper_s_numbers() -> None:
    lengths = [1, 16384, 16385, 18432, 20479, 20480]
    for component in (Overlong(buffer=4096), Overlong()):
        got = component.shape_rewards(batch_of(lengths, 20480)).tolist()
        assert got == [0.0, 0.0, -1 / 4096, -0.5, -4095 / 4096, -1.0]


def test_the_punishment_never_exceeds_its_factor() -> None:
    got = Overlong(buffer=4, factor=0.25).shape_rewards(batch_of([16, 17, 1000], 16))
    assert got.tolist() == [-0.25, -0.25, -0.25]


@pytest.mark.parametrize(("limit", "buffer"), [(20480, 4096), (1024, 204), (10, 2), (4, 1), (1, 1)])
def test_the_default_buffer_is_a_fifth_of_the_limit(limit: int, buffer: int) -> None:
    lengths = [1, limit - buffer, limit - buffer + 1, limit]
    got = Overlong().shape_rewards(batch_of(lengths, limit)).tolist()
    assert got == pytest.approx([formula(length, limit, buffer, 1.0) for length in lengths], abs=1e-6)


def test_rewards_and_lengths_are_left_as_they_were() -> None:
    batch = batch_of([5, 90, 100], 100)
    before = batch.rewards.clone(), batch.lengths.clone()
    Overlong().shape_rewards(batch)
    assert torch.equal(batch.rewards, before[0])
    assert torch.equal(batch.lengths, before[1])


def test_a_buffer_that_punishes_everything_is_refused() -> None:
    config = RunConfig(rollout=RolloutConfig(max_response_tokens=64))
    Overlong(buffer=64).check_run(config)
    Overlong().check_run(config)
    with pytest.raises(UserError, match=r"`overlong\.buffer` = 65.*`rollout\.max_response_tokens` = 64"):
        Overlong(buffer=65).check_run(config)


def test_the_filter_drops_exactly_the_truncated_responses() -> None:
    batch = make_batch([[1.0, -1.0], [1.0, 1.0, -1.0]], truncated={1, 4})
    kept = OverlongFilter().mask_responses(batch)
    assert kept.dtype == torch.bool
    assert kept.tolist() == [True, False, True, True, False]
