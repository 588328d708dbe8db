"""Placebos: the reward that is left has nothing to do with what is right, or everything the wrong way round."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dapoctl import Score
from dapoctl.batch import Batch
from dapoctl.components.catalog import installed
from dapoctl.testing import make_batch


def batch(step: int = 3) -> Batch:
    """Eight groups of sixteen; every second response is right, two of three say an answer."""
    made = make_batch([[0.0, 1.0] * 8] * 8)
    count = len(made.texts)
    verdicts = [Score(float(i % 2), bool(i % 2), "7" if i % 3 else None) for i in range(count)]
    scores = torch.tensor([verdict.value for verdict in verdicts])
    return dataclasses.replace(made, scores=scores, verdicts=verdicts, correct=scores > 0, step=step)


def reward(name: str, of: Batch, **parameters: float) -> torch.Tensor:
    term = installed().find(name).load()(**parameters).shape_rewards(batch=of)
    return of.scores + term


def test_a_random_reward_is_chance_and_the_same_again() -> None:
    found = [reward("random_reward", batch(step), probability=0.25) for step in range(40)]
    assert set(torch.stack(found).flatten().tolist()) == {0.0, 1.0}
    # 5,120 draws: three standard errors are 0.018.
    assert torch.stack(found).mean().item() == pytest.approx(0.25, abs=0.018)
    right = torch.stack([each[batch().correct].mean() for each in found]).mean().item()
    assert right == pytest.approx(0.25, abs=0.026)
    assert torch.equal(found[3], reward("random_reward", batch(3), probability=0.25))
    assert not torch.equal(found[3], found[4])


def test_a_format_reward_pays_for_any_answer() -> None:
    of = batch()
    assert reward("format_reward", of).tolist() == [float(verdict.extracted is not None) for verdict in of.verdicts]


def test_an_inverted_reward_pays_for_being_wrong() -> None:
    of = batch()
    assert torch.equal(reward("inverted_reward", of), -of.scores)
