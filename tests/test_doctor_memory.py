"""The estimate of memory by part: parameters against torch's count, activations against what autograd keeps, the cache
against transformers', and the sum against the peak of real updates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from dapoctl.config import RunConfig
from dapoctl.doctor import memory
from dapoctl.doctor.memory import kept_by_layer, kv_cache, weight_casts
from dapoctl.doctor.shape import FAMILIES, count, shape_of
from dapoctl.doctor.source import find_model
from dapoctl.doctor.workload import Cut, Workload, cuts, extremes
from dapoctl.models import locate
from dapoctl.models.packing import pack, register

MODELS = Path(os.environ.get("DAPOCTL_TEST_MODELS", Path(__file__).parents[1] / "models"))
SMALL = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
KINDS: dict[str, type[PreTrainedConfig]] = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "gemma2": Gemma2Config,
    "gemma3": Gemma3TextConfig,
}


def parameters(config: PreTrainedConfig) -> int:
    """torch's own count; tied weights once."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())


def workload(config: PreTrainedConfig | dict[str, Any], **settings: Any) -> Workload:
    """On a CPU; the shape from what would be written to `config.json`."""
    shape = shape_of(config if isinstance(config, dict) else config.to_dict())
    assert shape is not None
    return Workload(RunConfig(**settings), shape, count(shape), "cpu")


@pytest.mark.parametrize("model_type", FAMILIES)
def test_parameters_from_the_shape_are_torchs(model_type: str) -> None:
    for extra in ({}, {"tie_word_embeddings": True}, {"tie_word_embeddings": False}, {"attention_bias": True}):
        config = AutoConfig.for_model(model_type, num_hidden_layers=2, **extra)
        for written in (config.to_dict(), config.to_diff_dict()):
            shape = shape_of(written)
            assert shape is not None
            assert count(shape).total == parameters(config)


def test_parameters_of_gemma_3_4b() -> None:
    from test_doctor import GEMMA_4B

    shape = shape_of(GEMMA_4B)
    assert shape is not None
    found = count(shape)
    config = Gemma3Config(text_config=GEMMA_4B["text_config"], vision_config=GEMMA_4B["vision_config"])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert found.total == sum(parameter.numel() for parameter in model.parameters())
    assert found.language == sum(parameter.numel() for parameter in model.get_decoder().parameters())
    text = config.get_text_config()
    assert (shape.heads, shape.kv_heads, shape.head_dim) == (8, 4, 256)
    assert (shape.vocab, shape.positions) == (text.vocab_size, text.max_position_embeddings)
    assert shape.sliding_layers == text.layer_types.count("sliding_attention")


def test_parameters_from_headers(tmp_path: Path) -> None:
    """Sharded, with a head of its own, and with a layer that the shape knows nothing of."""
    config = LlamaConfig(**SMALL, num_hidden_layers=3, vocab_size=500, tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_config(config)
    model.model.extra = nn.Linear(7, 9)
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    found = find_model(str(tmp_path)).parameters
    assert found is not None
    assert found.total == sum(parameter.numel() for parameter in model.parameters())
    assert (found.embedding, found.head, found.other) == (500 * 96, 500 * 96, 72)


@pytest.mark.parametrize("name", ["tiny", "smollm2-135m", "gemma3-270m"])
def test_parameters_of_real_models(name: str) -> None:
    path = locate(name) if name == "tiny" else str(MODELS / name)
    if not (Path(path) / "config.json").is_file():
        pytest.skip(f"no model {name} in {MODELS} (set DAPOCTL_TEST_MODELS)")
    model = find_model(path)
    assert model.parameters is not None
    assert model.shape is not None
    assert model.parameters.total == count(model.shape).total == parameters(AutoConfig.from_pretrained(path))


def test_a_gguf_file(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    config = LlamaConfig(**SMALL, num_hidden_layers=2, vocab_size=50, tie_word_embeddings=True)
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(96)
    writer.add_feed_forward_length(160)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(32)
    writer.add_context_length(128)
    writer.add_vocab_size(50)
    for name, parameter in AutoModelForCausalLM.from_config(config).named_parameters():
        writer.add_tensor(name, parameter.detach().numpy())
    writer.add_tensor("rope_freqs.weight", torch.ones(16).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = find_model(str(tmp_path / "small.gguf"))
    assert found.parameters is not None
    assert found.shape is not None
    assert found.parameters.total == parameters(config)
    assert (found.shape.layers, found.shape.positions) == (2, 128)


def kept(config: PreTrainedConfig, groups: list[tuple[int, list[int]]], bfloat16: bool, rank: int) -> int:
    """Bytes of every tensor that autograd keeps of a packed forward pass."""
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    assert register(model)
    if rank:
        peft = pytest.importorskip("peft", reason="peft is not installed")
        model = peft.get_peft_model(model, peft.LoraConfig(r=rank, target_modules="all-linear")).base_model.model
        for parameter in model.parameters():
            if bfloat16 and not parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    stored: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            stored[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    positions = [[*range(p), *(place for r in rs for place in range(p, p + r))] for p, rs in groups]
    tokens = sum(map(len, positions))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", enabled=bfloat16):
        model.get_decoder()(
            input_ids=torch.ones(1, tokens, dtype=torch.long),
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool),
            position_ids=torch.tensor([[place for group in positions for place in group]]),
            use_cache=False,
            packing=pack(groups),
        )
    return sum(size for size, _ in stored.values())


@pytest.mark.parametrize("rank", [0, 8])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_what_autograd_keeps(kind: str, dtype: str, rank: int) -> None:
    """Of one layer: the difference between models of six and of twelve layers, five and ten of Gemma 3's with a window."""
    sizes, config = [], None
    for layers in (6, 12):
        window = {"sliding_window": 16} if kind == "gemma3" else {}
        config = KINDS[kind](**SMALL, **window, num_hidden_layers=layers, vocab_size=50)
        sizes.append(kept(config, [(40, [50, 50]), (40, [50])], dtype == "bfloat16", rank))
    assert config is not None
    work = workload(config, model={"dtype": dtype}, lora={"rank": rank})
    cut = Cut(tokens=230, rows=3, width=90, blocks=2)
    estimated = kept_by_layer(work, cut) + weight_casts(work) // 12
    assert estimated == pytest.approx((sizes[1] - sizes[0]) / 6, rel=0.03)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_the_cache_is_transformers(kind: str) -> None:
    window = {"sliding_window": 16} if kind == "gemma3" else {}
    config = KINDS[kind](**SMALL, **window, num_hidden_layers=6, vocab_size=50)
    model = AutoModelForCausalLM.from_config(config).eval()
    cache = DynamicCache(config=config)
    with torch.no_grad():
        model(input_ids=torch.ones(3, 30, dtype=torch.long), past_key_values=cache, use_cache=True)
        for _ in range(10):
            model(input_ids=torch.ones(3, 1, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    # A layer with a window of 16 keeps the 15 tokens before the next one.
    assert kv_cache(workload(config), 3, 40) == pytest.approx(held, rel=0.05)


def test_micro_batches_are_those_of_an_update() -> None:
    from learners import make_learner
    from peaks import longest_batch

    from dapoctl.training.microbatch import micro_batches

    for packing in (True, False):
        learner = make_learner(
            [],
            train={"micro_batch_tokens": 400, "packing": packing},
            rollout={"prompts": 3, "samples": 5, "max_prompt_tokens": 30, "max_response_tokens": 50},
        )
        real = list(micro_batches(longest_batch(learner), 400, torch.device("cpu"), packing))
        planned = list(cuts(learner.config, "cpu"))
        later = max(((cut.tokens, cut.places) for cut in planned[1:]), default=None)
        first, largest, count = extremes(learner.config, "cpu")
        assert (first, count) == (planned[0], len(planned))
        assert (largest and (largest.tokens, largest.places)) == later
        assert [(cut.tokens, cut.rows) for cut in planned] == [(part.ids.numel(), len(part.rows)) for part in real]
        if packing:
            layouts = [part.layout for part in real if part.layout is not None]
            assert [(cut.places, cut.blocks) for cut in planned] == [(len(x.tokens), len(x.blocks)) for x in layouts]


def test_constants_are_those_of_the_code() -> None:
    from dapoctl.engines.vllm import GIB

    assert GIB == memory.GIB
