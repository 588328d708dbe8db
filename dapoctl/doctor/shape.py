"""A model's shape and its count of parameters, from its configuration alone: transformers builds the model on
the meta device, where tensors have sizes but no data.

Shapes: L layers, D hidden size, H heads of size d, K key-value heads, F intermediate size, V vocabulary entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

PARTS = {"norms": ("norm",), "mlp": ("mlp",), "attention": ("attn", "attention")}
"""The parts of a decoder, and words in the names of their parameters; the first match counts"""
TOWER = ("hidden_size", "intermediate_size", "num_hidden_layers", "image_size", "patch_size")


@dataclass(frozen=True)
class Shape:
    """What memory depends on."""

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    positions: int | None = None
    sliding_window: int | None = None
    sliding_layers: int = 0
    """Layers that keep no more than `sliding_window` keys and values"""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    vision: Mapping[str, int] | None = None
    """Settings of a vision tower beside the language model, by their configuration's names"""


@dataclass(frozen=True)
class Decoder:
    """What the language model's layers are made of."""

    linear: Mapping[str, tuple[int, ...]]
    """The shape of each linear layer's weight, by name; without the output head"""
    norms: int = 2
    """Norms of the hidden states in one layer"""
    qk_norm: bool = False
    """Queries and keys are normed too"""
    float_norm: bool = False
    """These norms multiply in float32, regardless of the compute type"""


@dataclass(frozen=True)
class Parameters:
    """A model's number of parameters, by part."""

    embedding: int
    head: int
    """0 if the embedding is also the head"""
    attention: int
    mlp: int
    norms: int
    frozen: int = 0
    """Of parts that text does not use, such as a vision tower: loaded, never trained"""
    other: int = 0
    """Of the language model, with names that match no part"""
    source: str = "the shape"
    """Where the count comes from"""

    @property
    def language(self) -> int:
        """Parameters of the language model."""
        return self.embedding + self.head + self.attention + self.mlp + self.norms + self.other

    @property
    def total(self) -> int:
        """All parameters that are loaded."""
        return self.language + self.frozen


def empty_model(config: Any, trust_remote_code: bool = False) -> Any:
    """The causal language model that a configuration of transformers describes, on the meta device.

    Raises:
        Exception: of any kind; transformers has no such model, or a package that it needs is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM

    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        return build(config, trust_remote_code=trust_remote_code)


def measure(model: Any) -> tuple[Shape, Parameters, Decoder]:
    """What is known of a causal language model from its configuration and its modules.

    Raises:
        Exception: of any kind; its configuration does not give a shape, such as that of a model without attention.
    """
    decoder = _decoder(model)
    return _shape(model, decoder), _count(model), decoder


def _shape(model: Any, decoder: Decoder) -> Shape:
    from transformers import DynamicCache

    text = model.config.get_text_config()
    # If layers differ in heads or widths, the first one represents all.
    first = getattr(text, "per_layer_config", [text])[0]
    heads, hidden = int(first.num_attention_heads), int(first.hidden_size)
    cached: list[Any] = DynamicCache(config=text).layers
    windows = [layer.sliding_window for layer in cached if getattr(layer, "is_sliding", False)]
    widest = max((max(extents) for extents in decoder.linear.values()), default=hidden)
    biased = {name.rpartition(".")[2] for name in decoder.linear if model.get_submodule(name).bias is not None}
    return Shape(
        model_type=str(text.model_type),
        layers=int(text.num_hidden_layers),
        hidden=hidden,
        intermediate=int(getattr(first, "intermediate_size", None) or widest),
        heads=heads,
        kv_heads=int(getattr(first, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(first, "head_dim", None) or hidden // heads),
        vocab=int(text.vocab_size),
        tied=_tied(model),
        positions=getattr(text, "max_position_embeddings", None),
        sliding_window=int(windows[0]) if windows else None,
        sliding_layers=len(windows),
        qkv_bias=bool(biased & {"q_proj", "qkv_proj"}),
        out_bias="o_proj" in biased,
        mlp_bias="down_proj" in biased,
        vision=_vision(model.config),
    )


def _tied(model: Any) -> bool:
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _vision(config: Any) -> Mapping[str, int] | None:
    tower = getattr(config, "vision_config", None)
    return {name: int(getattr(tower, name)) for name in TOWER} if all(hasattr(tower, name) for name in TOWER) else None


def _count(model: Any) -> Parameters:
    """Parameters by part; what neither the decoder nor the output head holds is not trained."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    part_of = {id(parameter): "frozen" for parameter in model.parameters()}
    for name, parameter in model.get_decoder().named_parameters():
        part_of[id(parameter)] = next((part for part, words in PARTS.items() if any(w in name for w in words)), "other")
    part_of |= {id(parameter): "head" for parameter in head.parameters()} | {id(embedding): "embedding"}
    parts: Counter[str] = Counter()
    for parameter in model.parameters():
        parts[part_of[id(parameter)]] += parameter.numel()
    return Parameters(
        embedding=parts["embedding"],
        head=parts["head"],
        attention=parts["attention"],
        mlp=parts["mlp"],
        norms=parts["norms"],
        frozen=parts["frozen"],
        other=parts["other"],
    )


def _decoder(model: Any) -> Decoder:
    from dapoctl.config.schema import LoraConfig
    from dapoctl.models.lora import adapted_layers

    linear = {name: tuple(model.get_submodule(name).weight.shape) for name in adapted_layers(model, LoraConfig(rank=1))}
    norms = [(name, module) for name, module in _first_layer(model).named_modules() if "Norm" in type(module).__name__]
    of_queries = [module for name, module in norms if name.rpartition(".")[2].startswith("q")]
    return Decoder(
        linear=linear,
        norms=sum("." not in name for name, _ in norms),
        qk_norm=bool(of_queries),
        float_norm=bool(of_queries) and _multiplies_in_float(of_queries[0]),
    )


def _first_layer(model: Any) -> nn.Module:
    from torch import nn

    count = model.config.get_text_config().num_hidden_layers
    stacks = (part for part in model.get_decoder().modules() if isinstance(part, nn.ModuleList) and len(part) == count)
    return next(stacks)[0]


def _multiplies_in_float(norm: nn.Module) -> bool:
    """Whether autograd keeps both the input and the normed input in float32, and not just the input."""
    import torch

    weight = next(norm.parameters())
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    states = torch.empty(1, *weight.shape, dtype=torch.bfloat16, device="meta", requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        norm.to(torch.bfloat16)(states)
    return sum(tensor.dtype == torch.float32 and tensor.shape == states.shape for tensor in kept.values()) > 1
