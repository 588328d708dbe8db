"""A model's shape from its `config.json`, and the parameters that follow from it.

Shapes: L layers, D hidden size, H heads of size d, K key-value heads, F intermediate size, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """What a `model_type` implies that its `config.json` may leave out (transformers writes no default)."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    sandwich: bool = False
    """Norms after attention and MLP too: four a layer instead of two"""
    qk_norm: bool = False
    """Queries and keys are normed, head by head"""
    qkv_bias: bool = False
    biased: bool = True
    """Whether `attention_bias` is heeded"""
    period: int = 0
    """Every `period`-th layer looks at everything, the others through the sliding window; -1: none does, 0: all do"""
    float_norm: bool = False
    """Norms multiply in float32 (Gemma)"""


_GEMMA: dict[str, Any] = {"tie_word_embeddings": True, "head_dim": 256}
FAMILIES: dict[str, Family] = {
    "llama": Family({"tie_word_embeddings": False}),
    "mistral": Family(
        {"tie_word_embeddings": False, "sliding_window": 4096, "num_key_value_heads": 8}, biased=False, period=-1
    ),
    "qwen2": Family({"tie_word_embeddings": False}, qkv_bias=True),
    "qwen3": Family({"tie_word_embeddings": False, "head_dim": 128}, qk_norm=True),
    "smollm3": Family({"tie_word_embeddings": True}),
    "gemma": Family(_GEMMA, float_norm=True),
    "gemma2": Family(_GEMMA | {"sliding_window": 4096}, sandwich=True, period=2, float_norm=True),
    "gemma3_text": Family(
        _GEMMA
        | {
            "vocab_size": 262_208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131_072,
            "sliding_window": 4096,
        },
        sandwich=True,
        qk_norm=True,
        period=6,
        float_norm=True,
    ),
}
"""Model types whose parameters are counted exactly from the shape; another type is taken for a Llama"""


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
    """Of a SigLIP tower beside the language model, as its configuration names them"""

    @property
    def family(self) -> Family:
        """What the model type implies."""
        return FAMILIES.get(self.model_type, FAMILIES["llama"])

    @property
    def known(self) -> bool:
        """Whether `count` is exact for this model type."""
        return self.model_type in FAMILIES


@dataclass(frozen=True)
class Parameters:
    """How many numbers a model consists of, by part."""

    embedding: int
    head: int
    """0 where the embedding is the head, too"""
    attention: int
    mlp: int
    norms: int
    frozen: int = 0
    """Of parts that text does not use, such as a vision tower: loaded, never trained"""
    other: int = 0
    """Of the language model, with names that say nothing"""
    source: str = "the shape"
    """Where the count comes from"""
    exact: bool = True

    @property
    def language(self) -> int:
        """Those of the language model."""
        return self.embedding + self.head + self.attention + self.mlp + self.norms + self.other

    @property
    def total(self) -> int:
        """All that is loaded."""
        return self.language + self.frozen


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The language model's shape; None when the configuration lacks what is needed, as for other architectures.

    Args:
        config: a `config.json`, of a text model or with its language model under `text_config`
    """
    text = config.get("text_config") or config
    model_type = str(text.get("model_type") or "")
    family = FAMILIES.get(model_type, Family())
    values = {**family.defaults, **{key: value for key, value in text.items() if value is not None}}
    if "tie_word_embeddings" in config:
        values["tie_word_embeddings"] = config["tie_word_embeddings"]
    try:
        heads, hidden, layers = (
            int(values[key]) for key in ("num_attention_heads", "hidden_size", "num_hidden_layers")
        )
        window, sliding = _sliding(values, family, layers)
        return Shape(
            model_type=model_type,
            layers=layers,
            hidden=hidden,
            intermediate=int(values["intermediate_size"]),
            heads=heads,
            kv_heads=int(values.get("num_key_value_heads", heads)),
            head_dim=int(values.get("head_dim") or hidden // heads),
            vocab=int(values["vocab_size"]),
            tied=bool(values.get("tie_word_embeddings", True)),
            positions=int(values["max_position_embeddings"]) if "max_position_embeddings" in values else None,
            sliding_window=window,
            sliding_layers=sliding,
            qkv_bias=family.qkv_bias or (family.biased and bool(values.get("attention_bias"))),
            out_bias=family.biased and not family.qkv_bias and bool(values.get("attention_bias")),
            mlp_bias=bool(values.get("mlp_bias", False)),
            vision=_vision(config),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _sliding(values: Mapping[str, Any], family: Family, layers: int) -> tuple[int | None, int]:
    window = values.get("sliding_window")
    if not window or values.get("use_sliding_window") is False:
        return None, 0
    if "layer_types" in values:
        count = sum(kind == "sliding_attention" for kind in values["layer_types"])
    elif family.period:
        period = int(values.get("sliding_window_pattern") or values.get("_sliding_window_pattern") or family.period)
        count = layers if period < 0 else layers - layers // period
    else:
        count = 0
    return (int(window), count) if count else (None, 0)


def _vision(config: Mapping[str, Any]) -> Mapping[str, int] | None:
    tower = config.get("vision_config")
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "image_size", "patch_size")
    if not isinstance(tower, Mapping) or any(name not in tower for name in names):
        return None
    return {name: int(tower[name]) for name in names}


def count(shape: Shape) -> Parameters:
    """Parameters by part, from the shape alone."""
    rows = shape.heads * shape.head_dim
    keys = shape.kv_heads * shape.head_dim
    attention = 2 * shape.hidden * (rows + keys)
    attention += (rows + 2 * keys) * shape.qkv_bias + shape.hidden * shape.out_bias
    mlp = 3 * shape.hidden * shape.intermediate + (2 * shape.intermediate + shape.hidden) * shape.mlp_bias
    norms = (4 if shape.family.sandwich else 2) * shape.hidden + 2 * shape.head_dim * shape.family.qk_norm
    table = shape.vocab * shape.hidden
    return Parameters(
        embedding=table,
        head=0 if shape.tied else table,
        attention=shape.layers * attention,
        mlp=shape.layers * mlp,
        norms=shape.layers * norms + shape.hidden,
        frozen=_siglip(shape),
        exact=shape.known,
    )


def _siglip(shape: Shape) -> int:
    """A SigLIP tower without its pooling head, and Gemma 3's projector from it."""
    if shape.vision is None:
        return 0
    size, inner = shape.vision["hidden_size"], shape.vision["intermediate_size"]
    patch = shape.vision["patch_size"]
    layer = 4 * (size * size + size) + 2 * size * inner + inner + size + 4 * size
    patches = (shape.vision["image_size"] // patch) ** 2
    embedding = size * 3 * patch * patch + size + patches * size
    projector = size * shape.hidden + size
    return shape.vision["num_hidden_layers"] * layer + embedding + 2 * size + projector
