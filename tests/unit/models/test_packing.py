"""Packed sequences against the same sequences one at a time, in float64.

Hidden states agree to the last digits; gradients to 1e-7, since transformers' norms compute in float32 whatever comes in.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from dapoctl.config import RunConfig
from dapoctl.errors import RunWarning
from dapoctl.models import varlen
from dapoctl.models.loading import load_policy, packs_exactly
from dapoctl.models.packing import ALONE, SIMILAR, pack, register
from dapoctl.models.policy import Policy
from dapoctl.training.microbatch import MicroBatch, micro_batches
from dapoctl.training.step import accumulate_gradient, estimate
from tests.support.learners import gradients, in_float64, make_learner, responses_batch

CPU = torch.device("cpu")
COMMON: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**COMMON))


def qwen() -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**COMMON, head_dim=16))


def gemma() -> PreTrainedModel:
    """Two layers of three see only the last 8 tokens."""
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**COMMON, head_dim=16, sliding_window=8, layer_types=kinds))


def policy_of(model: PreTrainedModel) -> Policy:
    tokenizer = load_policy(RunConfig(rollout={"max_prompt_tokens": 9, "max_response_tokens": 9})).tokenizer
    return Policy("random", model.double().eval(), tokenizer, CPU, torch.float64)


def kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """What torch's documentation says that `varlen_attn` computes, which only a GPU has: token i of a sequence sees those from
    i - left to i + right, all where that is -1.
    """
    assert cu_seq_q.dtype == torch.int32
    assert torch.equal(cu_seq_q, cu_seq_k)
    lengths = cu_seq_q.diff()
    assert int(lengths.max()) == max_q == max_k
    assert int(cu_seq_q[-1]) == len(query) == len(key)
    assert enable_gqa == (query.shape[1] != key.shape[1])
    (left, right), outputs = window_size, []
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    for q, k, v in zip(*(x.split(lengths.tolist()) for x in (query, key, value)), strict=True):
        ahead = torch.arange(len(q)) - torch.arange(len(q))[:, None]
        seen = ((ahead <= right) | (right == -1)) & ((-ahead <= left) | (left == -1))
        scores = torch.einsum("ihd,jhd->hij", q, k) * (scale or q.shape[-1] ** -0.5)
        outputs.append(torch.einsum("hij,jhd->ihd", scores.masked_fill(~seen, float("-inf")).softmax(-1), v))
    return torch.cat(outputs)


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel for rows of any length, as far as a CPU can have it: in float64, computed by its documentation."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    monkeypatch.setattr(varlen, "TYPES", (torch.float64, torch.float32, torch.bfloat16))


@pytest.mark.parametrize("build", [llama, qwen, gemma])
@pytest.mark.parametrize("way", ["plain", "checkpointing", "varlen"])
def test_hidden_states_and_gradients_equal_those_of_single_sequences(
    build: Any, way: str, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(3)
    policy, checkpointing = policy_of(build()), way == "checkpointing"
    if way == "varlen":
        request.getfixturevalue("on_a_gpu")
    if checkpointing:
        policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        policy.model.train()
    assert register(policy.model)
    groups = [(11, [30, 29, 12, 3, 0]), (1, [7, 0, 0]), (20, [0])]
    prompts = [torch.randint(0, 64, (prompt,)) for prompt, _ in groups]
    responses = [[torch.randint(0, 64, (length,)) for length in lengths] for _, lengths in groups]
    weight = torch.randn(32, dtype=torch.float64)

    one_by_one = []
    for prompt, group in zip(prompts, responses, strict=True):
        states = [policy.model.model(torch.cat([prompt, r])[None], use_cache=False).last_hidden_state[0] for r in group]
        one_by_one += [states[0][: len(prompt)], *(s[len(prompt) :] for s in states)]
    wanted = torch.cat(one_by_one)
    (wanted @ weight).sin().sum().backward()
    wanted_grad = torch.cat([p.grad.flatten() for p in policy.model.model.parameters()])

    policy.model.zero_grad()
    ids = torch.cat([torch.cat([p, *group]) for p, group in zip(prompts, responses, strict=True)])
    positions = torch.cat(
        [torch.cat([torch.arange(p), *(torch.arange(p, p + n) for n in lengths)]) for p, lengths in groups]
    )
    layout = pack(groups, ALONE if way == "varlen" else SIMILAR)
    assert (layout.ends is not None) == (way == "varlen")
    found = policy.packed_hidden(ids[None], positions[None], layout)[0]
    (found @ weight).sin().sum().backward()
    found_grad = torch.cat([p.grad.flatten() for p in policy.model.model.parameters()])
    assert (found - wanted).abs().max() < 1e-11
    assert (found_grad - wanted_grad).norm() < 1e-7 * wanted_grad.norm()


def test_rows_of_similar_length_share_a_block() -> None:
    layout = pack([(4, [20, 19, 3, 2]), (2, [5])])
    assert layout.blocks == [(2, 24), (2, 7), (1, 7)]
    assert len(layout.home) == 4 + 20 + 19 + 3 + 2 + 2 + 5
    assert torch.equal(layout.tokens[layout.home], torch.arange(len(layout.home)))
    assert torch.equal(layout.tokens[layout.copies], layout.originals)
    assert len(layout.copies) == 3 * 4


def test_for_a_kernel_of_any_length_no_row_is_padded() -> None:
    layout = pack([(4, [20, 19, 3, 2]), (2, [5])], ALONE)
    assert layout.ends is not None
    assert layout.ends.tolist() == [0, 24, 47, 54, 60, 67]
    assert layout.ends.dtype == torch.int32
    assert len(layout.tokens) == 67
    assert len(pack([(4, [20, 19, 3, 2]), (2, [5])]).tokens) == 2 * 24 + 2 * 7 + 7
    assert torch.equal(layout.tokens[layout.home], torch.arange(len(layout.home)))


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, varlen.TOLERANCE)])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (4, 1)])
@pytest.mark.usefixtures("on_a_gpu")
def test_a_kernel_is_compared_with_plain_attention_before_it_is_used(
    dtype: torch.dtype, most: float, heads: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "TOLERANCE", most)
    assert varlen.difference(CPU, dtype, heads, groups, 16) == ""

    def wrong(*tensors: Tensor, window_size: tuple[int, int], **options: Any) -> Tensor:
        """Sees one token more than it is asked to."""
        left, right = window_size
        return kernel(*tensors, window_size=(left + (left > 0), right), **options)  # type: ignore[arg-type, misc]

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", wrong)
    assert "from that of plain attention, window 8" in varlen.difference(CPU, dtype, heads, groups, 16)


def test_without_a_gpu_or_in_float32_there_is_no_such_kernel() -> None:
    policy = make_learner([]).policy
    assert varlen.obstacle(policy) == "no GPU"
    assert not policy.varlen
    elsewhere = dataclasses.replace(policy, device=torch.device("cuda"))
    assert "does not compute in torch.float32" in varlen.obstacle(elsewhere)
    # What torch says of a GPU that is not there is told, and not raised.
    assert varlen.obstacle(dataclasses.replace(elsewhere, compute_dtype=torch.bfloat16))


def sequences_of(part: MicroBatch) -> list[Tensor]:
    """For each response, the input ids that stand where its tokens are predicted, in order."""
    at = part.ids.flatten()[part.where]
    return [at[part.sequence == row] for row in range(len(part.rows))]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("budget", [1, 40, 90, 10**6])
def test_every_token_is_predicted_from_the_one_before_it(packed: bool, budget: int) -> None:
    learner = make_learner(["token_mean", "overlong_filter"])
    batch = estimate(learner, responses_batch(learner.policy, groups=4))
    seen: list[int] = []
    for part in micro_batches(batch, budget, CPU, packed):
        assert part.ids.numel() <= budget or len(part.rows) == 1
        for row, before in zip(part.rows.tolist(), sequences_of(part), strict=True):
            length = int(batch.lengths[row])
            response = batch.response_ids[row, :length].tolist()
            assert before.tolist() == [batch.prompt_ids[int(batch.groups[row])][-1], *response[:-1]]
            seen.append(row)
        assert torch.equal(part.targets, part.flat(batch.response_ids))
    assert sorted(seen) == torch.nonzero(batch.mask.any(1)).flatten().tolist()


def test_a_prompt_goes_through_the_model_once_for_its_group() -> None:
    learner = make_learner(["token_mean"])
    batch = responses_batch(learner.policy, groups=3, samples=5)
    (part,) = micro_batches(batch, 10**6, CPU)
    prompts = sum(len(ids) for ids in batch.prompt_ids)
    assert part.ids.numel() == prompts + int(batch.lengths.sum()) - 15


def test_a_model_that_mixes_tokens_by_convolution_is_padded() -> None:
    torch.manual_seed(0)
    kinds = ["conv", "full_attention", "conv"]
    model = Lfm2ForCausalLM(Lfm2Config(**COMMON, layer_types=kinds, block_auto_adjust_ff_dim=False))
    policy = policy_of(model)
    assert register(model)
    assert not packs_exactly(policy)
    assert packs_exactly(policy_of(llama())) is False, "not registered, so attention mixes the sequences"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_does_not_decide_whether_a_model_packs(dtype: torch.dtype) -> None:
    """A convolution of little weight changes a 4000th, which is less than bfloat16 rounds; what rounds is not a convolution."""
    torch.manual_seed(0)
    kinds = ["conv", "full_attention", "conv"]
    mixing = Lfm2ForCausalLM(Lfm2Config(**COMMON, layer_types=kinds, block_auto_adjust_ff_dim=False))
    model = llama()
    mixes, packs = (
        dataclasses.replace(policy_of(each), compute_dtype=torch.bfloat16) for each in (mixing, model) if register(each)
    )
    mixing.to(dtype)
    model.to(dtype)
    assert not packs_exactly(mixes)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    noise = torch.Generator().manual_seed(1)

    def rounds_otherwise(_module: Any, _inputs: Any, output: Tensor) -> Tensor | None:
        """Another kernel's order of sums, in bfloat16 only."""
        spread = torch.randn(output.shape, generator=noise, dtype=output.dtype)
        return output + 0.05 * spread * output.abs() if output.dtype == torch.bfloat16 else None

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(rounds_otherwise)
    assert packs_exactly(packs)
    after = dict(model.named_parameters())
    assert all(torch.equal(weight, after[name]) and after[name].dtype == dtype for name, weight in before.items())


def test_packing_that_was_wanted_and_is_off_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kinds = ["conv", "full_attention", "conv"]
    settings = RunConfig(rollout={"max_prompt_tokens": 9, "max_response_tokens": 9})
    tokenizer = load_policy(settings).tokenizer
    shape = COMMON | {"vocab_size": len(tokenizer)}
    Lfm2ForCausalLM(Lfm2Config(**shape, layer_types=kinds, block_auto_adjust_ff_dim=False)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings.model = settings.model.model_copy(update={"path": str(tmp_path)})
    with pytest.warns(RunWarning, match=r"`train.packing`: .* so they are padded"):
        assert not load_policy(settings).packs
    settings.train = settings.train.model_copy(update={"packing": False})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RunWarning)
        load_policy(settings)


@pytest.mark.parametrize("weights", ["sequence_mean", "token_mean"])
def test_a_step_is_the_same_packed_and_padded(weights: str) -> None:
    learner = in_float64(make_learner([weights, "overlong_filter", "gkl", "kl"], tables={"kl": {"coef": 0.1}}))
    batch = estimate(learner, responses_batch(learner.policy, longest=30))
    found: list[Tensor] = []
    for packs in (True, False):
        for policy in (learner.policy, learner.reference):
            assert policy is not None
            policy.packs = packs
        learner.policy.model.zero_grad()
        accumulate_gradient(learner, batch)
        found.append(gradients(learner))
    assert (found[0] - found[1]).norm() <= 1e-7 * found[1].norm()


def test_packing_can_be_turned_off() -> None:
    settings = RunConfig(rollout={"max_prompt_tokens": 9, "max_response_tokens": 9})
    assert load_policy(settings).packs
    settings.train = settings.train.model_copy(update={"packing": False})
    assert not load_policy(settings).packs


def test_bfloat16_stays_near_float32() -> None:
    """Autocast rounds to 8 bits of mantissa: gradients agree in direction, and packing adds nothing to the difference."""
    exact = make_learner(["token_mean"], move_policy=0.05)
    rounded = make_learner(["token_mean"], move_policy=0.05, model={"path": "tiny", "dtype": "bfloat16"})
    batch = estimate(exact, responses_batch(exact.policy))
    found = []
    for learner, packs in ((exact, True), (rounded, True), (rounded, False)):
        learner.policy.packs = packs
        learner.policy.model.zero_grad()
        accumulate_gradient(learner, dataclasses.replace(batch))
        found.append(gradients(learner))
    wanted, packed, padded = found
    error = [float((grad - wanted).norm() / wanted.norm()) for grad in (packed, padded)]
    assert 1e-4 < error[0] < 0.05
    assert error[0] < 1.5 * error[1]
