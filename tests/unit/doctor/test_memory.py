"""The estimate of memory by part: parameters against torch's count, activations against what autograd keeps, the cache
against transformers', and the sum against the peak of real updates."""

from __future__ import annotations

import json
import math
import struct
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
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from dapoctl.config import RunConfig
from dapoctl.doctor.memory import kept_by_layer
from dapoctl.doctor.shape import empty_model, measure
from dapoctl.doctor.source import find_model
from dapoctl.doctor.workload import Cut, Workload, cuts, extremes
from dapoctl.engines.hf import Hf
from dapoctl.models import locate
from dapoctl.models.packing import pack, register
from tests.support.places import MODELS

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


def by_hand(config: Any, norms: int = 2, qk_norm: bool = False, qkv_bias: bool = False) -> dict[str, int]:
    """Parameters by part from the papers' formulas; `norms` of the hidden states in each layer."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    size = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    rows, keys = config.num_attention_heads * size, config.num_key_value_heads * size
    bias = getattr(config, "attention_bias", False)
    attention = hidden * (2 * rows + 2 * keys) + (rows + 2 * keys) * (qkv_bias or bias)
    attention += hidden * (bias and not qkv_bias)
    table = config.vocab_size * hidden
    return {
        "embedding": table,
        "head": 0 if config.tie_word_embeddings else table,
        "attention": layers * attention,
        "mlp": layers * 3 * hidden * inner,
        "norms": layers * (norms * hidden + 2 * size * qk_norm) + hidden,
        "frozen": 0,
        "other": 0,
    }


def siglip_by_hand(config: Any, hidden: int) -> int:
    """A SigLIP tower without its pooling head, and Gemma 3's projector from it."""
    size, inner, patch = config.hidden_size, config.intermediate_size, config.patch_size
    layer = 4 * (size * size + size) + 2 * size * inner + inner + size + 4 * size
    patches = (config.image_size // patch) ** 2
    embedding = size * 3 * patch * patch + size + patches * size
    return int(config.num_hidden_layers * layer + embedding + 2 * size + size * hidden + size)


def in_headers(folder: Path) -> int:
    """Numbers in a folder's safetensors files: a length (u64) and JSON stand at the head of each."""
    found = 0
    for path in folder.glob("*.safetensors"):
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        found += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return found


def workload(config: PreTrainedConfig, **settings: Any) -> Workload:
    """On a CPU, sampling with transformers."""
    return Workload(RunConfig(**settings), *measure(empty_model(config)), Hf(), "cpu")


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "smollm3": {},
    "gemma": {},
    "gemma2": {"norms": 4},
    "gemma3_text": {"norms": 4, "qk_norm": True},
}
"""What a layer has beside attention and MLP"""


@pytest.mark.parametrize("model_type", FAMILIES)
def test_parameters_by_part(model_type: str, tmp_path: Path) -> None:
    for extra in ({}, {"tie_word_embeddings": True}, {"tie_word_embeddings": False}, {"attention_bias": True}):
        config = AutoConfig.for_model(model_type, num_hidden_layers=2, **extra)
        heeded = {**extra} if model_type not in ("mistral", "qwen2") else {"attention_bias": False}
        reference = AutoConfig.for_model(model_type, num_hidden_layers=2, **(extra | heeded))
        for written in (config.to_dict(), config.to_diff_dict() | {"model_type": model_type}):
            (tmp_path / "config.json").write_text(json.dumps(written))
            model = find_model(str(tmp_path))
            assert model.parameters is not None
            assert model.parameters.total == parameters(config)
            for part, size in by_hand(reference, **FAMILIES[model_type]).items():
                assert getattr(model.parameters, part) == size, (part, extra)


PUBLISHED: dict[str, tuple[str, dict[str, Any], int]] = {
    "Llama 3.2 1B": (
        "llama",
        {
            "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
            "num_key_value_heads": 8, "vocab_size": 128_256, "tie_word_embeddings": True,
        },
        1_235_814_400,
    ),
    "Mistral 7B": ("mistral", {}, 7_241_732_096),
    "Qwen2.5 0.5B": (
        "qwen2",
        {
            "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
            "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True,
        },
        494_032_768,
    ),
    "Qwen3 0.6B": (
        "qwen3",
        {
            "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
            "num_key_value_heads": 8, "vocab_size": 151_936, "tie_word_embeddings": True,
        },
        596_049_920,
    ),
    "Phi 3 mini": ("phi3", {}, 3_821_079_552),
    "Gemma 3 1B": (
        "gemma3_text",
        {
            "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4,
            "num_key_value_heads": 1, "vocab_size": 262_144,
        },
        999_885_952,
    ),
    "GPT-2": ("gpt2", {}, 124_439_808),
    "Olmo 2 7B": ("olmo2", {"vocab_size": 100_352}, 7_298_617_344),
}  # fmt: skip
"""(model type, what differs from its defaults, parameters of the checkpoint on the hub)"""


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_published_models(name: str) -> None:
    model_type, settings, published = PUBLISHED[name]
    assert measure(empty_model(AutoConfig.for_model(model_type, **settings)))[1].total == published


def test_parameters_of_gemma_3_4b(tmp_path: Path) -> None:
    from tests.cli.test_doctor import GEMMA_4B

    (tmp_path / "config.json").write_text(json.dumps(GEMMA_4B))
    found = find_model(str(tmp_path))
    shape, count = found.shape, found.parameters
    assert shape is not None
    assert count is not None
    config = AutoConfig.from_pretrained(tmp_path)
    text = config.get_text_config()
    assert count.language == sum(by_hand(text, norms=4, qk_norm=True).values())
    assert count.frozen == siglip_by_hand(config.vision_config, text.hidden_size)
    assert count.total == parameters(config) == 4_300_079_472
    assert (shape.heads, shape.kv_heads, shape.head_dim) == (8, 4, 256)
    assert (shape.vocab, shape.positions) == (text.vocab_size, text.max_position_embeddings)
    assert shape.sliding_layers == text.layer_types.count("sliding_attention")


def test_parameters_against_the_weights_headers(tmp_path: Path) -> None:
    """Sharded, with a head of its own; then with a layer that the model knows nothing of, and that is not loaded."""
    config = LlamaConfig(**SMALL, num_hidden_layers=3, vocab_size=500, tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "own", max_shard_size="200KB")
    assert len(list((tmp_path / "own").glob("*.safetensors"))) > 1
    found = find_model(str(tmp_path / "own")).parameters
    assert found is not None
    assert (found.total, found.source) == (in_headers(tmp_path / "own"), "the weights' headers")
    assert (found.embedding, found.head, found.other) == (500 * 96, 500 * 96, 0)
    whole = sum(parameter.numel() for parameter in model.parameters())
    model.model.extra = nn.Linear(7, 9)
    model.save_pretrained(tmp_path / "more")
    found = find_model(str(tmp_path / "more")).parameters
    assert found is not None
    assert (found.total, found.source) == (whole, "the shape")


@pytest.mark.parametrize("name", ["tiny", "smollm2-135m", "gemma3-270m"])
def test_parameters_of_real_models(name: str) -> None:
    path = locate(name) if name == "tiny" else str(MODELS / name)
    if not (Path(path) / "config.json").is_file():
        pytest.skip(f"no model {name} in {MODELS} (set DAPOCTL_TEST_MODELS)")
    model = find_model(path)
    assert model.parameters is not None
    assert model.parameters.source == "the weights' headers"
    assert model.parameters.total == in_headers(Path(path)) == parameters(AutoConfig.from_pretrained(path))


def test_a_mixture_of_experts() -> None:
    """Every expert is counted, and only linear layers have adapters."""
    config = AutoConfig.for_model(
        "qwen3_moe", **SMALL, num_hidden_layers=2, vocab_size=50, num_experts=6, moe_intermediate_size=40
    )
    work = workload(config, lora={"rank": 4})
    assert work.parameters.total == parameters(config)
    assert work.parameters.mlp == 2 * (6 * 3 * 96 * 40 + 6 * 96)
    rows, keys = 4 * 32, 2 * 32
    assert work.adapters == 2 * 4 * (2 * (96 + rows) + 2 * (96 + keys))


def test_adapters_are_those_of_peft() -> None:
    """With fused projections, as Phi 3 has them, and for some layers only."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    config = AutoConfig.for_model("phi3", **SMALL, num_hidden_layers=2, vocab_size=50, pad_token_id=0)
    for targets in ("all-linear", ["qkv_proj", "down_proj"]):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
            wrapped = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=targets))
        listed = [targets] if isinstance(targets, str) else targets
        trained = sum(parameter.numel() for parameter in wrapped.parameters() if parameter.requires_grad)
        assert workload(config, lora={"rank": 8, "targets": listed}).adapters == trained


def test_layers_that_see_back_only_so_far() -> None:
    for settings, window in (({"sliding_window": None}, None), ({"sliding_window": 64}, 64)):
        shape, _, _ = measure(empty_model(AutoConfig.for_model("mistral", **SMALL, num_hidden_layers=3, **settings)))
        assert (shape.sliding_window, shape.sliding_layers) == (window, 3 if window else 0)


@pytest.mark.parametrize(
    ("config", "words", "loadable"),
    [
        ("{", "config.json cannot be read", False),
        ('{"model_type": "not_a_model"}', "does not recognize this architecture", False),
        ('{"model_type": "t5"}', "no language model", False),
        ('{"model_type": "mamba"}', "does not give the shape", True),
    ],
)
def test_configurations_that_give_no_shape(config: str, words: str, loadable: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    found = find_model(str(tmp_path))
    assert words in found.problem
    assert "\n" not in found.problem
    assert (found.shape, found.parameters, found.loadable) == (None, None, loadable)


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
    writer.add_rope_dimension_count(32)
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
    estimated = kept_by_layer(work, cut) + work.weight_casts // 12
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
    assert workload(config).kv_cache(3, 40) == pytest.approx(held, rel=0.05)


def test_micro_batches_are_those_of_an_update() -> None:
    from dapoctl.training.microbatch import micro_batches
    from tests.support.learners import make_learner
    from tests.support.peaks import longest_batch

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
