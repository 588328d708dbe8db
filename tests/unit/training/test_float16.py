"""float16: losses are scaled into its range, and what leaves it all the same is left out and counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dapoctl.batch import Batch
from dapoctl.training import checkpoint
from dapoctl.training.learner import Learner
from dapoctl.training.metrics import Metrics
from dapoctl.training.step import accumulate_gradient, apply_gradient, estimate
from tests.support.learners import gradients, make_learner, responses_batch


def learner_in(dtype: str, **config: Any) -> Learner:
    learner = make_learner(["clip"], model={"path": "tiny", "dtype": dtype}, optim={"lr": 1e-4}, **config)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == "float16")
    return dataclasses.replace(learner, scaler=scaler)


def batch_for(learner: Learner) -> Batch:
    return estimate(learner, responses_batch(learner.policy))


def unscaled(learner: Learner) -> Tensor:
    return gradients(learner) / learner.scaler.get_scale()


@pytest.mark.parametrize("lora", [{}, {"lora": {"rank": 4}}])
def test_the_gradient_is_that_of_float32_and_nearer_to_it_than_bfloat16s(lora: dict[str, Any]) -> None:
    found = {}
    for dtype in ("float32", "float16", "bfloat16"):
        learner = learner_in(dtype, **lora)
        loss = accumulate_gradient(learner, batch_for(learner))
        assert loss == pytest.approx(0.0, abs=0.05)
        found[dtype] = unscaled(learner)
    off = {dtype: float((found[dtype] - found["float32"]).norm() / found["float32"].norm()) for dtype in found}
    assert off["float16"] < 0.02
    assert off["float16"] < off["bfloat16"] / 3


def test_what_is_too_small_for_float16_is_scaled_into_its_range() -> None:
    """Token weights as those of a batch of millions of tokens."""
    found = {}
    for name, scale in (("scaled", 2.0**24), ("not", 1.0)):
        learner = learner_in("float16")
        learner.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        batch = batch_for(learner)
        assert batch.advantages is not None
        accumulate_gradient(learner, dataclasses.replace(batch, advantages=batch.advantages * 1e-5))
        found[name] = unscaled(learner)
    exact = learner_in("float32")
    batch = batch_for(exact)
    assert batch.advantages is not None
    accumulate_gradient(exact, dataclasses.replace(batch, advantages=batch.advantages * 1e-5))
    expected = gradients(exact)
    off = {name: float((each - expected).norm() / expected.norm()) for name, each in found.items()}
    assert off["scaled"] < 0.02 < off["not"]


def test_an_update_that_leaves_the_range_is_left_out_and_the_scale_halved() -> None:
    learner = learner_in("float16")
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    before = [parameter.detach().clone() for parameter in learner.policy.parameters()]

    def update() -> dict[str, float]:
        learner.metrics = Metrics()
        accumulate_gradient(learner, batch_for(learner))
        apply_gradient(learner, 1)
        learner.optimizer.zero_grad()
        return learner.metrics.result()

    first = update()
    assert (first["policy/skipped_updates"], first["policy/loss_scale"]) == (1, 2.0**30)
    assert all(torch.equal(now, then) for now, then in zip(learner.policy.parameters(), before, strict=True))
    assert learner.scaler.get_scale() == 2.0**29
    last = next(found for found in (update() for _ in range(20)) if not found["policy/skipped_updates"])
    assert last["policy/loss_scale"] < 2.0**29
    assert last["policy/grad_norm"] < 100
    assert not all(torch.equal(now, then) for now, then in zip(learner.policy.parameters(), before, strict=True))


def test_the_scale_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    learner = learner_in("float16")
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**9)
    saved = checkpoint.save(learner, tmp_path, 1, {"before": {}, "after": {}, "pending": None})
    other = learner_in("float16")
    checkpoint.restore(other, checkpoint.read_state(saved))
    assert other.scaler.get_scale() == 2.0**9


def test_without_float16_nothing_is_scaled_or_written(tmp_path: Path) -> None:
    learner = learner_in("float32")
    assert learner.scaler.get_scale() == 1
    saved = checkpoint.save(learner, tmp_path, 1, {"before": {}, "after": {}, "pending": None})
    assert "scaler" not in checkpoint.read_state(saved)
    accumulate_gradient(learner, batch_for(learner))
    apply_gradient(learner, 1)
    assert "policy/loss_scale" not in learner.metrics.result()
