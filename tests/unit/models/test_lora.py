"""Adapters: only they are trained, the reference is the model without them, engines get them merged.

Slow: a process that is killed, and a training to its end.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from dapoctl import Batch
from dapoctl.config import RunConfig
from dapoctl.config.resolve import load
from dapoctl.engines import Sampling
from dapoctl.engines.hf import HfEngine
from dapoctl.errors import ConfigError, ModelError
from dapoctl.models import locate
from dapoctl.models.loading import load_policy, load_reference
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import read_run
from dapoctl.training.learner import Learner
from dapoctl.training.step import accumulate_gradient, estimate
from tests.support.cli import dapoctl
from tests.support.helpers import multimodal_gemma
from tests.support.learners import gradients, make_learner, move, responses_batch
from tests.support.metrics import stable_metrics

LORA = {"rank": 4, "alpha": 8.0}


def settings(path: Path | str = "tiny", lora: dict[str, Any] = LORA, **config: Any) -> RunConfig:
    rollout = {"max_prompt_tokens": 32, "max_response_tokens": 64}
    return RunConfig(model={"path": str(path), **config.pop("model", {})}, rollout=rollout, lora=lora, **config)


def base_model(path: str = "tiny") -> Any:
    loader: Any = AutoModelForCausalLM
    return loader.from_pretrained(locate(path), dtype=torch.float32).eval()


def logprobs(model: Any, batch: Batch) -> Tensor:
    """Log-probabilities [B, T] from a model's own logits, one unpadded sequence at a time."""
    rows = []
    for row in range(len(batch.texts)):
        prompt = batch.prompt_ids[int(batch.groups[row])]
        length = int(batch.lengths[row])
        response = batch.response_ids[row, :length]
        ids = torch.cat([torch.tensor(prompt), response])[None]
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
        values = logits.log_softmax(-1).gather(1, response[:, None])[:, 0]
        rows.append(torch.nn.functional.pad(values, (0, batch.mask.shape[1] - length)))
    return torch.stack(rows)


def lora_learner(**config: Any) -> Learner:
    return make_learner(["kl"], tables={"kl": {"coef": 0.04}}, **({"lora": LORA} | config))


# What is trained


def test_adapters_alone_are_trained() -> None:
    learner = lora_learner(optim={"lr": 1e-2})
    policy = learner.policy
    names = {id(p): name for name, p in policy.model.named_parameters()}
    assert all(".lora_" in names[id(parameter)] for parameter in policy.parameters())
    # tiny: 3 layers with 7 linear layers each, an A and a B for each.
    assert len(policy.parameters()) == 42
    optimized = [parameter for group in learner.optimizer.param_groups for parameter in group["params"]]
    assert {id(p) for p in optimized} == {id(p) for p in policy.parameters()}
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    accumulate_gradient(learner, estimate(learner, responses_batch(policy)))
    assert {id(p) for p in policy.model.parameters() if p.grad is not None} == {id(p) for p in policy.parameters()}
    learner.optimizer.step()
    changed = {name for name, p in policy.model.named_parameters() if not torch.equal(p, before[name])}
    # As long as B is zero, A has no gradient.
    assert changed == {name for name in before if ".lora_B." in name}


CUTS = [{}, {"gradient_checkpointing": True}, {"micro_batch_tokens": 100, "chunk_tokens": 7}]


@pytest.mark.parametrize("train", CUTS)
def test_gradient_equals_plain_autograd_through_peft(train: dict[str, Any]) -> None:
    learner = lora_learner(train=train)
    policy = learner.policy
    move(policy)
    assert policy.adapters is not None
    batch = estimate(learner, responses_batch(policy))
    with torch.no_grad():
        now = logprobs(policy.adapters.wrapper, batch)
        ref = logprobs(base_model(), batch)
    batch.old_logprobs = now + 0.3 * torch.randn(now.shape, generator=torch.Generator().manual_seed(1))
    loss = accumulate_gradient(learner, batch)
    found = gradients(learner)

    policy.model.zero_grad()
    assert batch.advantages is not None
    log_p = logprobs(policy.adapters.wrapper, batch)
    ratio = (log_p - batch.old_logprobs).exp()
    surrogate = torch.max(-batch.advantages * ratio, -batch.advantages * ratio.clamp(0.8, 1.2))
    per_token = surrogate + 0.04 * (torch.exp(ref - log_p) - (ref - log_p) - 1)
    m = batch.mask.float()
    expected = ((per_token * m).sum(-1) / m.sum(-1)).mean()
    expected.backward()
    wanted = gradients(learner)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert wanted.norm() > 1e-3
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()


def test_adapters_come_from_the_seed() -> None:
    first = load_policy(settings(seed=3)).parameters()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again, other = (load_policy(settings(seed=seed)).parameters() for seed in (3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_targets_are_ends_of_names() -> None:
    policy = load_policy(settings(lora=LORA | {"targets": ["self_attn.q_proj", "v_proj"]}))
    adapted = {name.split(".lora_")[0] for name, p in policy.model.named_parameters() if p.requires_grad}
    assert adapted == {f"model.layers.{i}.self_attn.{part}" for i in range(3) for part in ("q_proj", "v_proj")}


def test_only_the_language_model_of_a_multimodal_gemma_is_adapted(tmp_path: Path) -> None:
    multimodal_gemma(tmp_path)
    policy = load_policy(settings(tmp_path))
    trained = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 7 * 2
    assert all("language_model.layers" in name for name in trained)
    base = load_policy(settings(tmp_path, lora={}))
    assert [name for name, _ in policy.named_weights()] == [name for name, _ in base.named_weights()]
    ids = torch.tensor([policy.encode("3+4=")])
    policy.hidden(ids, torch.ones_like(ids)).last_hidden_state.sum().backward()
    assert all(p.grad is not None for p in policy.parameters())


# The reference


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_reference_is_the_base_bit_for_bit(dtype: str) -> None:
    config = settings(model={"dtype": dtype})
    policy = load_policy(config)
    reference = load_reference(config, policy)
    assert reference.model is policy.model
    base = load_reference(config, load_policy(settings(lora={}, model={"dtype": dtype})))
    ids = torch.tensor([policy.encode("12+5=")])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        assert torch.equal(policy.hidden(ids, mask).last_hidden_state, base.hidden(ids, mask).last_hidden_state)
    move(policy)
    moved = policy.hidden(ids, mask).last_hidden_state
    with torch.no_grad():
        assert torch.equal(reference.hidden(ids, mask).last_hidden_state, base.hidden(ids, mask).last_hidden_state)
    assert not torch.equal(moved, base.hidden(ids, mask).last_hidden_state)
    # A pass of the reference between the policy's forward and backward, as in every step, takes nothing away.
    moved.float().sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in policy.parameters())
    assert torch.equal(moved, policy.hidden(ids, mask).last_hidden_state)


def test_divergence_from_the_reference_begins_at_zero() -> None:
    learner = make_learner(["kl", "kl_full"], lora=LORA)
    accumulate_gradient(learner, estimate(learner, responses_batch(learner.policy)))
    found = learner.default_metrics.result()
    assert (found["policy/kl"], found["policy/kl_full"]) == (0.0, 0.0)


def test_bfloat16_keeps_adapters_and_frequencies_precise() -> None:
    policy = load_policy(settings(model={"dtype": "bfloat16"}))
    move(policy)
    for name, parameter in policy.model.named_parameters():
        assert parameter.dtype == (torch.float32 if ".lora_" in name else torch.bfloat16), name
    assert {b.dtype for name, b in policy.model.named_buffers() if "inv_freq" in name} == {torch.float32}
    precise = load_policy(settings())
    move(precise)
    ids = torch.tensor([policy.encode("12+5=17")])
    for each in (policy, precise):
        each.hidden(ids, torch.ones_like(ids)).last_hidden_state.float().square().mean().backward()
    one, two = (torch.cat([p.grad.flatten() for p in each.parameters()]) for each in (policy, precise))  # type: ignore[union-attr]
    assert one.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(one, two, dim=0) > 0.99


# Weights for engines, checkpoints


def test_saved_adapters_are_pefts_and_merge_into_the_weights_that_engines_get(tmp_path: Path) -> None:
    policy = load_policy(settings())
    move(policy)
    kept = [p.detach().clone() for p in policy.model.parameters()]
    given = dict(policy.named_weights())
    assert all(torch.equal(one, two) for one, two in zip(policy.model.parameters(), kept, strict=True))
    policy.save(tmp_path / "model")
    peft_model: Any = PeftModel.from_pretrained(base_model(), tmp_path / "model")
    ids = torch.tensor([policy.encode("12+5=")])
    with torch.no_grad():
        ours = policy.model(input_ids=ids).logits
        assert torch.equal(peft_model(input_ids=ids).logits, ours)
        merged = peft_model.merge_and_unload()
        assert torch.allclose(merged(input_ids=ids).logits, ours, atol=1e-4)
    wanted = dict(merged.named_parameters())
    assert list(given) == list(wanted)
    assert all(torch.allclose(given[name], wanted[name], atol=1e-7) for name in wanted)
    assert json.loads((tmp_path / "model" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        Path(locate("tiny")).resolve()
    )


def test_a_checkpoint_holds_adapters_only_and_brings_them_back(tmp_path: Path) -> None:
    policy = load_policy(settings())
    move(policy)
    policy.save(tmp_path)
    (weights,) = tmp_path.glob("*.safetensors")
    assert all(".lora_" in name for name in load_file(weights))
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 4 * sum(p.numel() for p in policy.parameters()) + 20_000
    again = load_policy(settings(seed=7), tmp_path)
    assert all(torch.equal(one, two) for one, two in zip(policy.parameters(), again.parameters(), strict=True))
    assert all(p.requires_grad for p in again.parameters())
    assert again.path == locate("tiny")


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    load_policy(settings()).save(tmp_path)
    with pytest.raises(
        ModelError, match=r"model\.layers\.0\.mlp.down_proj\.lora_A\.weight is \[4, \d+\] there and absent"
    ):
        load_policy(settings(lora=LORA | {"targets": "q_proj"}), tmp_path)
    with pytest.raises(ModelError, match=r"is \[4, \d+\] there and \[8, \d+\] with this model and"):
        load_policy(settings(lora={"rank": 8}), tmp_path)
    data = (tmp_path / "adapter_model.safetensors").read_bytes()
    (tmp_path / "adapter_model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(settings(), tmp_path)


def test_hf_samples_from_the_adapted_model_and_gives_the_weights_back() -> None:
    policy = load_policy(settings())
    move(policy)
    kept = [(p, p.data_ptr(), p.detach().clone()) for p in policy.model.parameters()]
    prompt = policy.encode("12+5=")
    (group,) = HfEngine(policy, 8).generate([prompt], Sampling(24, seed=1), 4)
    for parameter, address, value in kept:
        assert parameter.data_ptr() == address
        assert torch.equal(parameter, value)
    assert all(p.requires_grad for p in policy.parameters())
    assert policy.adapters is not None
    for completion in group:
        ids = torch.tensor([[*prompt, *completion.token_ids]])
        with torch.no_grad():
            logits = policy.adapters.wrapper(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        wanted = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
        assert torch.allclose(torch.tensor(completion.logprobs), wanted, atol=1e-4)
    engine = HfEngine(policy, 8)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    engine.progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        engine.generate([prompt], Sampling(8, seed=1), 2)
    assert all(torch.equal(parameter, value) for parameter, _, value in kept)


# What is refused


def test_a_missing_peft_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"`lora\.rank` = 4: .* pip install 'dapoctl\[lora\]'"):
        load_policy(settings())


def test_a_target_without_a_layer_lists_those_there_are() -> None:
    with pytest.raises(
        ModelError, match=r"`lora\.targets`: 'query' matches .* q_proj, k_proj, v_proj, o_proj, gate_proj"
    ):
        load_policy(settings(lora=LORA | {"targets": ["q_proj", "query"]}))
    for elsewhere in ("lm_head", "embed_tokens"):
        with pytest.raises(ModelError, match=elsewhere):
            load_policy(settings(lora=LORA | {"targets": [elsewhere]}))


def test_a_rank_beyond_every_layer_is_refused() -> None:
    with pytest.raises(ModelError, match=r"`lora\.rank` = 5000: no adapted layer has a rank of more than \d+"):
        load_policy(settings(lora={"rank": 5000}))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora.rank=-1", r"`lora\.rank` = -1 .* greater than or equal to 0"),
        ("lora.rank=2.5", r"`lora\.rank` = 2\.5"),
        ("lora.alpha=0", r"`lora\.alpha` = 0 .* greater than 0"),
        ("lora.targets=[]", r"`lora\.targets`"),
        ("lora.targets=q_proj,", r"the name of a layer must not be empty"),
        ("lora.r=8", r"unknown key `lora\.r`"),
    ],
)
def test_unsuitable_values_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load([], [override])


def test_targets_may_be_typed_as_words() -> None:
    config = load([], ["lora.rank=8", "lora.targets=q_proj, v_proj"])
    assert config.config.lora.targets == ["q_proj", "v_proj"]
    assert "[lora]\nrank = 8\nalpha = 32.0\n" in config.as_toml()


# Whole runs


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the embedded model that can go missing."""
    return Path(shutil.copytree(locate("tiny"), tmp_path_factory.mktemp("base") / "tiny"))


def run_command(root: Path, base: Path) -> list[str]:
    settings = (
        f"model={base}", "lora.rank=4", "steps=5", "rollout.prompts=3", "rollout.samples=4", "optim.lr=1e-3",
        "optim.warmup_steps=0", "eval.every=5", "eval.limit=8", "checkpoint.every=2", "dynamic_sampling.max_staleness=2",
    )  # fmt: skip
    options = [part for setting in settings for part in ("--set", setting)]
    return ["run", "--plugins", "dapo,kl", *options, "--runs-dir", str(root)]


@pytest.fixture(scope="module")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    root = tmp_path_factory.mktemp("undisturbed")
    done = dapoctl(*run_command(root, base), cwd=root)
    assert done.returncode == 0, done.stderr
    return find_run(root, "last")


def test_a_run_begins_at_the_reference_and_leaves_small_checkpoints(undisturbed: Path, base: Path) -> None:
    rows = stable_metrics(undisturbed)
    assert rows[1]["metrics"]["policy/kl"] == 0.0
    assert rows[-1]["metrics"]["policy/kl"] > 0.0
    checkpoint = undisturbed / "checkpoints" / "step_5"
    weights = load_file(checkpoint / "model" / "adapter_model.safetensors")
    assert all(".lora_" in name for name in weights)
    # A, B and two moments of each; the whole model would take twenty times as much.
    expected = 3 * sum(4 * tensor.numel() for tensor in weights.values())
    found = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    assert found < 1.5 * expected
    assert found < 0.5 * (base / "model.safetensors").stat().st_size


@pytest.mark.process
@pytest.mark.slow
def test_killed_and_resumed_is_as_never_killed(undisturbed: Path, base: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dapoctl", *run_command(tmp_path, base)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if any(tmp_path.glob("[!.]*/spec.json")) and len(stable_metrics(find_run(tmp_path, "last"))) > 3:
            break
        time.sleep(0.02)
    process.kill()
    output, _ = process.communicate()
    directory = find_run(tmp_path, "last")
    assert read_run(directory).state == "lost", output
    away = base.rename(base.with_name("away"))
    gone = dapoctl("runs", "resume", "last", "--runs-dir", tmp_path, cwd=tmp_path)
    away.rename(base)
    assert gone.returncode == 2
    assert f"`model.path` = '{base}': no such folder" in gone.stderr
    resumed = dapoctl("runs", "resume", "last", "--runs-dir", tmp_path, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert stable_metrics(directory) == stable_metrics(undisturbed)
    one, two = (
        load_file(path / "checkpoints/step_5/model/adapter_model.safetensors") for path in (directory, undisturbed)
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


@pytest.mark.slow
def test_adapters_learn_to_add_carefully(tmp_path: Path) -> None:
    options = ("--plugins", "clip_higher,gkl", "--set", "lora.rank=8", "--set", "optim.lr=3e-3", "--json")
    done = dapoctl("run", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["before"]["eval/arithmetic/avg@1"] <= 0.60
    assert result["after"]["eval/arithmetic/avg@1"] >= 0.85
