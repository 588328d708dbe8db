"""What is kept in the host's memory: the same numbers, and the order in which it comes and goes. A CPU stands for the GPU."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dapoctl.config import RunConfig
from dapoctl.config.resolve import load
from dapoctl.errors import ConfigError, ModelError
from dapoctl.evaluation.target import find_target
from dapoctl.models.loading import load_policy
from dapoctl.runs.jobs.create import create
from dapoctl.training import offload
from dapoctl.training import step as steps
from dapoctl.training.learner import Learner
from dapoctl.training.step import accumulate_gradient, estimate, learn
from tests.support.learners import gradients, make_learner, responses_batch

CHECKPOINTED = {"gradient_checkpointing": True}


def with_setting(learner: Learner, **train: Any) -> Learner:
    """On a GPU it would be loaded with it; the configuration of a CPU is refused."""
    settings = learner.config.train.model_copy(update=train)
    learner.config = learner.config.model_copy(update={"train": settings})
    return learner


def test_gradients_are_those_of_activations_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "LEAST", 1)
    packed: list[torch.Tensor] = []
    empty = torch.empty_like

    def watched(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
        options.pop("pin_memory", None)
        packed.append(tensor)
        return empty(tensor, **options)

    plain = make_learner(["gkl"], train=CHECKPOINTED)
    batch = estimate(plain, responses_batch(plain.policy))
    accumulate_gradient(plain, batch)
    ours = with_setting(make_learner(["gkl"], train=CHECKPOINTED), offload_activations=True)
    monkeypatch.setattr(offload.torch, "empty_like", watched)
    accumulate_gradient(ours, batch)
    monkeypatch.undo()
    for one, other in zip(gradients(ours), gradients(plain), strict=True):
        assert torch.equal(one, other)
    # The input of every layer, for every token, and no weight.
    config = ours.policy.model.config.get_text_config()
    inputs = [tensor for tensor in packed if tensor.dim() == 3 and tensor.shape[-1] == config.hidden_size]
    assert len(inputs) >= config.num_hidden_layers
    weights = {parameter.data_ptr() for parameter in ours.policy.model.parameters()}
    assert not weights.intersection(tensor.data_ptr() for tensor in packed)


def test_weights_come_before_the_update_and_go_after_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    learner = with_setting(make_learner(["gkl"]), offload_weights=True)
    batch = estimate(learner, responses_batch(learner.policy))
    assert learner.reference is not None
    names = {id(learner.policy.model): "policy", id(learner.reference.model): "reference"}
    learner.policy.device = learner.reference.device = torch.device("cpu", 0)
    monkeypatch.setattr(
        offload,
        "place",
        lambda model, device: seen.append(f"{names[id(model)]} to {device.index if device.index else device}"),
    )
    monkeypatch.setattr(steps, "update", lambda *_: seen.append("update"))
    engine: Any = SimpleNamespace(sleep=lambda: seen.append("sleep"), load_weights=lambda _: seen.append("sync"))
    learner.engine = engine
    learn(learner, batch, 1)
    assert seen == [
        "sleep", "policy to cpu:0", "reference to cpu:0", "update", "sync", "policy to cpu", "reference to cpu",
    ]  # fmt: skip
    seen.clear()
    learn(with_setting(learner, offload_weights=False), batch, 1)
    assert seen == ["sleep", "update", "sync"]


@pytest.mark.parametrize("key", ["offload_weights", "offload_activations"])
def test_without_a_gpu_it_is_refused(key: str) -> None:
    with pytest.raises(ModelError, match=f"`train.{key}` = true: there is no GPU"):
        load_policy(RunConfig(train={key: True, **CHECKPOINTED}))  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["offload_weights", "offload_activations"])
def test_on_a_cpu_it_is_refused_before_a_run_is_made(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} does nothing with device = cpu"):
        load([], [f"train.{key}=true", "train.gradient_checkpointing=true", "train.device=cpu", "engine=vllm"])


def test_activations_that_are_not_computed_again_stay() -> None:
    with pytest.raises(ConfigError, match="keeps what gradient_checkpointing saves: set that as well"):
        load([], ["train.offload_activations=true"])


def test_an_engine_that_samples_with_the_policy_s_weights_needs_them() -> None:
    with pytest.raises(ConfigError, match="engine `hf` samples with the policy's own weights"):
        load([], ["train.offload_weights=true"])
    assert load([], ["train.offload_weights=true", "engine=vllm"]).config.train.offload_weights


@pytest.mark.parametrize("more", [(), ("model.dtype=float32",)])
def test_what_was_trained_on_a_gpu_is_evaluated_without_one(more: tuple[str, ...], tmp_path: Path) -> None:
    settings = ("offload_weights", "offload_activations", "gradient_checkpointing")
    options = [*(f"train.{key}=true" for key in settings), "optim.master_weights=true", "engine=vllm"]
    run = create(load([], options), tmp_path, ["test"])
    target = find_target(run.name, tmp_path, step=0, engine="hf", settings=more)
    policy = load_policy(target.config)
    assert (policy.device.type, policy.masters) == ("cpu", {})
