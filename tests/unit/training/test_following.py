"""The share of what the policy has learned that its engine has learned too."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from dapoctl.batch import Batch
from dapoctl.training.following import measure_following
from dapoctl.training.learner import Learner
from dapoctl.training.metrics import Metrics
from dapoctl.training.step import old_logprobs
from tests.support.learners import make_learner, move, responses_batch


class Rounds:
    """As an engine that keeps its weights in fewer bits."""

    rounds = True


def learner_and_batch(share: float, noise: float = 0.0, **config: Any) -> tuple[Learner, Batch]:
    """A policy that has learned, and responses of an engine that has learned `share` of it, with noise."""
    learner = make_learner(["clip"], **({"lora": {"rank": 4}} | config))
    learner.engine = Rounds()  # type: ignore[assignment]
    batch = responses_batch(learner.policy)
    before = old_logprobs(learner, batch)
    move(learner.policy, 0.05)
    now = old_logprobs(learner, batch)
    drawn = torch.randn(now.shape, generator=torch.Generator().manual_seed(2))
    engine = before + share * (now - before) + noise * drawn
    return learner, dataclasses.replace(batch, rollout_logprobs=engine, step=3, born=[3] * len(batch.born))


def measured(learner: Learner, batch: Batch) -> dict[str, float]:
    learner.metrics = Metrics()
    measure_following(learner, batch)
    return learner.metrics.result()


@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
def test_the_share_is_found(share: float) -> None:
    found = measured(*learner_and_batch(share))
    assert found["rollout/engine_follows"] == pytest.approx(share, abs=1e-3)
    assert found["rollout/engine_follows_error"] < 1e-3


def test_a_policy_in_bfloat16_is_measured_in_float32() -> None:
    """As on a GPU: frozen weights and layers in bfloat16, whose noise would make the share smaller than it is."""
    exact, batch = learner_and_batch(1.0, model={"path": "tiny", "dtype": "float32"})
    learner, _ = learner_and_batch(1.0, model={"path": "tiny", "dtype": "bfloat16"})
    frozen = [each for each in learner.policy.model.parameters() if not each.requires_grad]
    assert {each.dtype for each in frozen} == {torch.bfloat16}
    found, wanted = measured(learner, batch), measured(exact, batch)
    assert wanted["rollout/engine_follows"] == pytest.approx(1, abs=1e-3)
    # The base differs by its own rounding to bfloat16.
    assert found["rollout/engine_follows"] == pytest.approx(1, abs=0.1)
    assert {each.dtype for each in frozen} == {torch.bfloat16}


@pytest.mark.parametrize("shared", [False, True], ids=["of each token", "of a whole response"])
def test_two_thirds_of_the_errors_are_within_one_standard_error(shared: bool) -> None:
    """Of many engines with the same share and other noise."""
    learner, batch = learner_and_batch(0.7)
    exact, inside = batch.rollout_logprobs, 0
    for seed in range(60):
        drawn = torch.randn(len(exact), 1 if shared else exact.shape[1], generator=torch.Generator().manual_seed(seed))
        found = measured(learner, dataclasses.replace(batch, rollout_logprobs=exact + 0.5 * drawn))
        inside += abs(found["rollout/engine_follows"] - 0.7) < found["rollout/engine_follows_error"]
    assert 28 <= inside <= 52


def test_responses_of_earlier_policies_do_not_count() -> None:
    learner, batch = learner_and_batch(1.0)
    stale = batch.rollout_logprobs.clone()
    stale[batch.groups == 0] = -3.0
    some = dataclasses.replace(batch, rollout_logprobs=stale, born=[2, *batch.born[1:]])
    assert measured(learner, some)["rollout/engine_follows"] == pytest.approx(1.0, abs=1e-3)
    assert measured(learner, dataclasses.replace(batch, born=[2] * len(batch.born))) == {}


@pytest.mark.parametrize("why", ["exact engine", "no adapters", "truncated distribution", "nothing learned"])
def test_where_there_is_nothing_to_say_nothing_is_said(why: str) -> None:
    config: dict[str, Any] = {"no adapters": {"lora": {"rank": 0}}}.get(why, {})
    if why == "truncated distribution":
        config = {"rollout": {"max_prompt_tokens": 32, "max_response_tokens": 64, "top_p": 0.9}}
    learner, batch = learner_and_batch(1.0, **config)
    if why == "exact engine":
        learner.engine = object()  # type: ignore[assignment]
    if why == "nothing learned":
        learner = dataclasses.replace(make_learner(["clip"], lora={"rank": 4}), engine=Rounds())  # type: ignore[arg-type]
    assert measured(learner, batch) == {}
