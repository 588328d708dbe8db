"""Weights in the compute type beside float32 master copies: the same training, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from dapoctl.config import RunConfig
from dapoctl.config.resolve import load
from dapoctl.errors import ConfigError, ModelError
from dapoctl.models import masters
from dapoctl.models.loading import load_policy
from dapoctl.models.policy import place
from dapoctl.training.learner import Learner
from dapoctl.training.optimizer import compact
from dapoctl.training.optimizer.forms import BLOCK
from dapoctl.training.step import estimate, update
from tests.support.learners import make_learner, responses_batch

STEPS = 2
OPTIM = {"lr": 1e-5, "updates": 2, "weight_decay": 0.01}


def trained(dtype: str = "bfloat16", rate: float = 1e-5, **optim: Any) -> Learner:
    """A learner after a few steps; its batches are the same always."""
    learner = make_learner(["gkl"], model={"path": "tiny", "dtype": dtype}, optim=OPTIM | {"lr": rate} | optim)
    learner.scaler = torch.amp.GradScaler("cpu", enabled=dtype == "float16", init_scale=64.0)
    for step in range(1, STEPS + 1):
        update(learner, estimate(learner, responses_batch(learner.policy, seed=step)), step)
    return learner


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in learner.policy.named_weights()}


def metrics(learner: Learner) -> dict[str, float]:
    return {
        name: value for name, value in learner.metrics.result().items() if not name.startswith(("time/", "memory/"))
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("dtype", "states"), [("bfloat16", "float32"), ("bfloat16", "offload"), ("float16", "offload")]
)
@pytest.mark.filterwarnings("default::dapoctl.errors.RunWarning")
def test_weights_and_metrics_are_those_of_float32_weights(
    dtype: str, states: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "STATE_CHUNK", 100 * BLOCK)
    with_them, without = trained(dtype, master_weights=True, states=states), trained(dtype)
    assert same(weights(with_them), weights(without))
    assert not same(weights(without), weights(trained(dtype, rate=2e-5)))
    assert metrics(with_them) == metrics(without)


def test_layers_hold_what_is_rounded_and_the_rest_float32() -> None:
    learner = trained(master_weights=True)
    policy = learner.policy
    kinds = {name: weight.dtype for name, weight in policy.model.named_parameters()}
    assert all((kind == torch.bfloat16) == (name.endswith("proj.weight")) for name, kind in kinds.items())
    assert len(policy.masters) == sum(kind == torch.bfloat16 for kind in kinds.values()) > 0
    for weight, master in policy.masters.items():
        assert master.dtype == torch.float32
        assert torch.equal(weight.detach(), master.bfloat16())
        assert not torch.equal(weight.detach().float(), master)


def test_a_checkpoint_has_the_master_copies(tmp_path: Path) -> None:
    learner = trained(master_weights=True)
    learner.policy.save(tmp_path)
    for wanted in (True, False):
        config = learner.config.model_copy(
            update={"optim": learner.config.optim.model_copy(update={"master_weights": wanted})}
        )
        again = load_policy(config, tmp_path)
        assert bool(again.masters) == wanted
        assert same(dict(again.named_weights()), weights(learner))


def test_small_updates_add_up() -> None:
    """At a rate of 1e-6 rounded weights alone would stay what they were."""
    learner = make_learner([], model={"path": "tiny", "dtype": "bfloat16"}, optim={"lr": 1e-6, "master_weights": True})
    plain = make_learner([], model={"path": "tiny", "dtype": "bfloat16"}, optim={"lr": 1e-6})
    moved = {}
    for name, each in (("masters", learner), ("float32", plain)):
        before = weights(each)
        for step in range(1, 201):
            noise = torch.Generator().manual_seed(step)
            for parameter in each.policy.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=noise) + 0.3
            each.optimizer.step()
        moved[name] = torch.cat([(weight - before[key]).flatten() for key, weight in weights(each).items()])
    assert torch.equal(moved["masters"], moved["float32"])
    assert float(moved["masters"].abs().mean()) > 1e-5
    # Without them: the same gradients, on the rounded weights.
    alone = [torch.nn.Parameter(weight.detach().clone()) for weight in learner.policy.masters]
    start = [weight.detach().clone() for weight in alone]
    optimizer = torch.optim.AdamW(alone, 1e-6, weight_decay=0.0)
    for step in range(1, 21):
        noise = torch.Generator().manual_seed(step)
        for weight in alone:
            weight.grad = (torch.randn(weight.shape, generator=noise) + 0.3).bfloat16()
        optimizer.step()
    still = [float((weight == before).float().mean()) for weight, before in zip(alone, start, strict=True)]
    assert min(still) > 0.9


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("lora.rank=4", "does nothing with `lora.rank` = 4: adapters are small, and float32; leave it out"),
        ("model.dtype=float32", "does nothing with `model.dtype` = 'float32': set bfloat16, or leave it out"),
    ],
)
def test_where_it_would_do_nothing_it_is_refused(settings: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load([], ["optim.master_weights=true", settings])
    assert str(refused.value) == f"`optim.master_weights` = true {said}"


def test_on_a_cpu_that_computes_in_float32_it_is_refused() -> None:
    with pytest.raises(ModelError, match=r"nothing to keep in fewer bits; set model\.dtype=bfloat16"):
        load_policy(RunConfig(optim={"master_weights": True}))  # type: ignore[arg-type]


def test_a_torch_that_cannot_sum_in_float32_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masters, "SUMS_IN", "what_it_lacks")
    with pytest.raises(ModelError, match=r"install torch 2\.10 or later"):
        masters.narrow(None, torch.bfloat16)


def test_a_tower_for_images_stays_where_it_was() -> None:
    """`meta` stands for the device."""
    text = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 64,
    }  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1))
    place(model, torch.device("meta"))
    where = {name: weight.device.type for name, weight in model.named_parameters()}
    language = {name for name in where if "language_model" in name or name.startswith("lm_head")}
    assert 0 < len(language) < len(where)
    assert {name for name, device in where.items() if device == "meta"} == language
