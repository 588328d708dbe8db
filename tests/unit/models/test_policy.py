"""Loading models: text-only use of a multimodal one, prompts, lengths, and folders that hold no model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dapoctl import UserError
from dapoctl.config import RunConfig
from dapoctl.engines import Sampling
from dapoctl.engines.hf import HfEngine
from dapoctl.errors import DataError, ModelError
from dapoctl.models import kind_of, locate
from dapoctl.models.loading import load_policy
from tests.support.helpers import multimodal_gemma


def settings(path: Path | str = "tiny", **model: Any) -> RunConfig:
    return RunConfig(model={"path": str(path), **model}, rollout={"max_prompt_tokens": 32, "max_response_tokens": 64})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the embedded model to damage."""
    return Path(shutil.copytree(locate("tiny"), tmp_path / "copy"))


def test_one_bos_with_and_without_a_template() -> None:
    for template in ("auto", "plain"):
        policy = load_policy(settings(template=template))
        ids = policy.encode("3+4=")
        assert ids.count(policy.tokenizer.bos_token_id) == 1
        assert ids[0] == policy.tokenizer.bos_token_id
        assert policy.decode(ids).strip() == "3+4="


def test_a_prompt_that_is_no_text_is_shown() -> None:
    with pytest.raises(DataError, match=r"'3\+\\udc804=' has a lone surrogate at character 2"):
        load_policy(settings()).encode("3+\udc804=")


def test_saved_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    policy = load_policy(settings())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter) * 1e-4)
    policy.save(tmp_path / "model")
    again = load_policy(settings(), tmp_path / "model")
    for (name, one), (other_name, two) in zip(policy.named_weights(), again.named_weights(), strict=True):
        assert name == other_name
        assert torch.equal(one, two)


def test_a_multimodal_gemma_is_trained_as_a_text_model(tmp_path: Path) -> None:
    multimodal_gemma(tmp_path)
    policy = load_policy(settings(tmp_path))
    trained = sum(parameter.numel() for parameter in policy.parameters())
    everything = sum(parameter.numel() for parameter in policy.model.parameters())
    assert trained < everything
    assert all("vision" not in name for name, p in policy.model.named_parameters() if p.requires_grad)
    prompt = policy.encode("3+4=")
    (group,) = HfEngine(policy, 8).generate([prompt], Sampling(8, seed=1), 3)
    assert len(group) == 3
    ids = torch.tensor([prompt])
    policy.body.train()
    policy.hidden(ids, torch.ones_like(ids)).last_hidden_state.sum().backward()


def test_what_a_model_s_name_stands_for(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").touch()
    (tmp_path / "plain.bin").touch()
    here = str(tmp_path)
    expected = {
        "folder": ["tiny", here, f"{here}/"],
        "gguf": [f"{here}/small.gguf"],
        "hub": ["owner/name", "owner/name.gguf"],
        "": ["nobody", "owner/", "/name", "a/b/c", "./name", "~/nowhere", f"{here}/plain.bin", f"{here}/no.gguf"],
    }
    assert {kind: [name for name in names if kind_of(name) == kind] for kind, names in expected.items()} == expected


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json, so it is not a model"):
        load_policy(settings(tmp_path))
    with pytest.raises(ModelError, match="no such folder, and not a hub name"):
        load_policy(settings(tmp_path / "absent"))
    with pytest.raises(ModelError, match=r"`model\.path` = 'nobody/nothing' cannot be loaded"):
        load_policy(settings("nobody/nothing"))
    (tmp_path / "config.json").write_text('{"model_type": "strange"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(settings(tmp_path))


def test_missing_weights_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    lost = next(name for name in weights if "mlp" in name)
    del weights[lost]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 weights"):
        load_policy(settings(copy))


def test_torn_weights_are_refused(copy: Path) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(settings(copy))


def test_lengths_beyond_the_model_name_both_keys() -> None:
    config = settings()
    config.rollout.max_response_tokens = 5000
    with pytest.raises(
        ModelError, match=r"max_prompt_tokens` = 32 and `rollout\.max_response_tokens` = 5000 need 5032"
    ):
        load_policy(config)


def test_a_cuda_device_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    config = settings()
    config.train.device = "cuda"
    with pytest.raises(UserError, match=r"no usable CUDA device"):
        load_policy(config)


def test_soft_capped_logits_are_known(copy: Path) -> None:
    """The head applies the cap that the model's configuration names; loading compares it with the model's own logits."""
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"final_logit_softcapping": 3.0}))
    policy = load_policy(settings(copy))
    ids = torch.tensor([policy.encode("12+5=")])
    with torch.no_grad():
        own = policy.model(input_ids=ids).logits
        ours = policy.head.logits(policy.hidden(ids, torch.ones_like(ids)).last_hidden_state)
    assert float(own.abs().max()) <= 3.0
    assert torch.allclose(own, ours, atol=1e-5)
