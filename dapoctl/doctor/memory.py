"""The memory of a run by part, at the two moments of a step that need most: while sampling and while updating.

Activations are counted, not fitted: the tensors that autograd keeps of one transformer layer are those that the forward
pass of transformers' Llama, Qwen and Gemma saves, one by one, so the count follows the shape. What is fitted are the
numbers in capitals below: how many temporary buffers of the vocabulary's width and of a layer's backward pass exist at
once. tests/test_doctor_memory.py holds the sum against real updates.

Shapes: N tokens, M places in attention's rows, D hidden size, H heads of size d, K key-value heads, F intermediate size,
V vocabulary entries, n tokens of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

from dapoctl.config import budget
from dapoctl.doctor.machine import GIB
from dapoctl.doctor.workload import Cut, Workload, extremes, linear_layers

FLOAT = 4
HEAD_BUFFERS = {"cpu": 2, "cuda": 3}
"""[n, V] in float32 while a chunk's gradient is computed: logits and probabilities; on a GPU their product, for the entropy"""
REFERENCE_BUFFERS = 2
"""[n, V] more with a reference: its logits and probabilities"""
PENALTY_BUFFERS = 10
"""[n, V] more while a penalty over the vocabulary is computed and differentiated"""
BACKWARD_WIDTHS = 3
"""[N, F] gradients that exist at once in a layer's backward pass"""
DRAW_BUFFERS = 4
"""[rows, V] while a token is drawn"""
NUCLEUS_BUFFERS = 6
"""[rows, V] more with top_p: sorted values, their places (8 bytes), cumulated, masked"""
PROCESS = {"cpu": int(0.75 * GIB), "cuda": int(0.6 * GIB)}
"""What Python and its libraries take in RAM; on a GPU, the CUDA context"""
VLLM_PROCESS = {"cpu": int(0.6 * GIB), "cuda": int(1.0 * GIB)}
"""vLLM's own code, buffers and, on a GPU, CUDA graphs, beside its weights and cache"""
VLLM_CPU_CACHE_GB = 2.0
"""`vllm.kv_cache_gb` on a CPU by default; as in dapoctl/engines/vllm.py"""


@dataclass(frozen=True)
class Estimate:
    """Bytes by part."""

    generating: dict[str, int]
    updating: dict[str, int]
    unknown: str = ""
    """What is not in it"""

    @property
    def peak(self) -> int:
        """The larger of both sums."""
        return max(sum(self.generating.values()), sum(self.updating.values()))


def estimate(work: Workload) -> Estimate:
    """Memory by part while responses are sampled and while weights are updated."""
    engine, unknown = _engine(work)
    lasting = {"process": PROCESS[work.device], **_weights(work)}
    sleeps = work.device == "cuda" and bool(_engine_settings(work).get("sleep"))
    updating = lasting | ({} if sleeps or work.config.engine != "vllm" else engine) | _update(work)
    return Estimate(_present(lasting | engine), _present(updating), unknown)


def _present(parts: dict[str, int]) -> dict[str, int]:
    return {name: size for name, size in parts.items() if size}


def _weights(work: Workload) -> dict[str, int]:
    """What is there all the time; gradients are dropped at the end of an update."""
    count, compute = work.parameters, work.compute_bytes
    if work.adapters:
        weights = compute * count.total + FLOAT * work.adapters
        return {"weights": weights, "optimizer": 2 * FLOAT * work.trained}
    return {
        "weights": FLOAT * count.total,
        "optimizer": 2 * FLOAT * work.trained,
        "reference": compute * count.total if work.compares else 0,
    }


def _update(work: Workload) -> dict[str, int]:
    """The largest moment of an update.

    Its first micro-batch finds no gradients but the output head's, which comes before those of the layers; all others
    find every gradient.
    """
    first, largest, _ = extremes(work.config, work.device)
    table = FLOAT * work.shape.vocab * work.shape.hidden
    trained = FLOAT * work.trained
    head, embedding = (0, 0) if work.adapters else (table, table)
    moments = [{"gradients": head, **parts} for parts in _moments(work, first)]
    if largest is not None:
        moments += [{"gradients": trained, **parts} for parts in _moments(work, largest)]
    moments.append({"gradients": trained, "embedding's gradient": embedding})
    return max(moments, key=lambda parts: sum(parts.values()))


def _moments(work: Workload, cut: Cut) -> list[dict[str, int]]:
    """What a micro-batch needs after its forward pass, at the head, and in its backward pass."""
    shape, checkpointing = work.shape, work.config.train.gradient_checkpointing
    layer, casts = kept_by_layer(work, cut), weight_casts(work)
    kept = cut.tokens * 3 * shape.hidden * FLOAT
    if windowed(work, cut):
        kept += cut.width**2 * work.compute_bytes
    kept += shape.layers * (cut.tokens * shape.hidden * FLOAT if checkpointing else layer)
    held = 0 if checkpointing else casts
    backward = BACKWARD_WIDTHS * cut.tokens * shape.intermediate * work.compute_bytes
    if checkpointing:
        backward += layer + casts // shape.layers
    return [
        {"activations": kept + casts},
        {"activations": kept + held, "logits": head_buffers(work, cut)},
        {"activations": kept + held + backward},
    ]


def kept_by_layer(work: Workload, cut: Cut) -> int:
    """Bytes that autograd keeps of one layer for a micro-batch, weights cast to bfloat16 left out.

    - each norm: its input and its normed input [N, D] float32 (a frozen norm: its input only)
    - inputs of the linear layers; in float32 query, key and value share one, gate and up another
    - the query's and key's norms, where the family has them: as above, [N, (H + K) d]
    - attention: query and output [M, H d], key and value [M, K d] (where a window is masked, [M, H d]), log of the
      normaliser [M, H] in float32
    - MLP: gate, its activation, up, and their product [N, F]
    - with adapters: the product with each A, [N, rank]
    """
    shape, size = work.shape, work.compute_bytes
    rows, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    per_norm = 1 if work.adapters else 2
    norms = (4 if shape.family.sandwich else 2) * per_norm * shape.hidden * FLOAT
    inputs = (5 if work.computes_bfloat16 or work.adapters else 2) * shape.hidden * size
    if not work.computes_bfloat16:
        inputs = 2 * shape.hidden * size
    qk_norm = 0
    if shape.family.qk_norm:
        second = FLOAT if shape.family.float_norm else size
        qk_norm = (rows + keys) * (FLOAT + (second if per_norm == 2 else 0))
    mlp = 4 * shape.intermediate * size
    lora = 7 * work.config.lora.rank * size
    per_token = norms + inputs + qk_norm + rows * size + mlp + lora
    masked = shape.sliding_layers / shape.layers if windowed(work, cut) else 0.0
    kept_keys = keys + (rows - keys) * masked if work.config.train.packing else rows
    per_place = (2 * rows + 2 * kept_keys) * size + shape.heads * FLOAT
    return int(cut.tokens * per_token + cut.places * per_place)


def windowed(work: Workload, cut: Cut) -> bool:
    """Whether packed rows are longer than the sliding window, so that it takes a mask, one for all layers."""
    window = work.shape.sliding_window
    return window is not None and cut.width > window and work.config.train.packing


def weight_casts(work: Workload) -> int:
    """Bytes of the bfloat16 copies of all layers' weights that autocast makes and autograd keeps until the backward pass."""
    if not work.computes_bfloat16:
        return 0
    if work.adapters:
        return 2 * work.adapters
    return 2 * work.shape.layers * sum(inputs * outputs for inputs, outputs in linear_layers(work.shape).values())


def head_buffers(work: Workload, cut: Cut) -> int:
    """Bytes while the head's gradient of one chunk is computed."""
    shape = work.shape
    rows = min(chunk_tokens(work), valid := cut.rows * work.config.rollout.max_response_tokens)
    buffers = HEAD_BUFFERS[work.device] + REFERENCE_BUFFERS * work.compares + PENALTY_BUFFERS * work.vocab_penalties
    logits = rows * shape.vocab * FLOAT * buffers
    if work.computes_bfloat16:
        # The logits' gradient is cast; so is the head's weight, whose gradient is bfloat16 before it is added.
        logits += 2 * rows * shape.vocab + (0 if work.adapters else 2 * 2 * shape.vocab * shape.hidden)
    hidden = (2 + work.compares) * valid * shape.hidden * FLOAT
    return logits + hidden


def chunk_tokens(work: Workload) -> int:
    """Tokens whose logits exist at once (`train.chunk_tokens`, with its default resolved)."""
    return budget.chunk_tokens(work.config.train, work.shape.vocab, work.device, bool(work.vocab_penalties))


def _engine_settings(work: Workload) -> dict[str, object]:
    return work.config.components.get(work.config.engine, {})


def _engine(work: Workload) -> tuple[dict[str, int], str]:
    if work.config.engine == "hf":
        return _hf(work), ""
    if work.config.engine == "vllm":
        return _vllm(work), ""
    return {}, f"engine `{work.config.engine}`: dapoctl does not know what it takes"


def _hf(work: Workload) -> dict[str, int]:
    """Key-value cache and what one decoding step needs, for training or evaluation, whichever takes more."""
    rollout, evaluation = work.config.rollout, work.config.eval
    most = int(str(_engine_settings(work)["max_sequences"]))
    calls = [(rollout.prompts, rollout.samples, rollout.top_p)]
    if evaluation.every:
        calls.append((evaluation.limit, evaluation.k, evaluation.top_p))
    found = [_decoding(work, min(prompts, max(1, most // n)) * n, top_p) for prompts, n, top_p in calls]
    return max(found, key=lambda parts: sum(parts.values()))


def _decoding(work: Workload, rows: int, top_p: float) -> dict[str, int]:
    shape, size = work.shape, work.compute_bytes
    length = work.config.rollout.max_prompt_tokens + work.config.rollout.max_response_tokens
    buffers = DRAW_BUFFERS + (NUCLEUS_BUFFERS if top_p < 1 else 0)
    # Without a shortcut for grouped queries, each layer copies its keys and values once per head.
    # Keys in float32 are then cast for attention in bfloat16.
    key_size = _key_size(work)
    copies = key_size + size + (size if key_size != size else 0)
    repeated = copies * rows * length * shape.heads * shape.head_dim
    cache = kv_cache(work, rows, length)
    merged = FLOAT * (work.parameters.attention + work.parameters.mlp) if work.adapters and size == FLOAT else 0
    return {
        "KV cache": cache + cache // shape.layers,
        "decoding": repeated + rows * shape.vocab * FLOAT * buffers,
        "merged adapters": merged,
        "weights in bfloat16": weight_casts(work),
    }


def kv_cache(work: Workload, rows: int, length: int) -> int:
    """Bytes of keys and values of `rows` sequences of `length` tokens.

    Rotary embeddings give float32 keys where the hidden states are: unless frozen weights are in bfloat16 themselves.
    """
    shape = work.shape
    keys = shape.kv_heads * shape.head_dim
    window = min(length, shape.sliding_window or length)
    tokens = shape.sliding_layers * window + (shape.layers - shape.sliding_layers) * length
    return rows * tokens * keys * (_key_size(work) + work.compute_bytes)


def _key_size(work: Workload) -> int:
    return work.compute_bytes if work.adapters else FLOAT


def _vllm(work: Workload) -> dict[str, int]:
    settings, cpu = _engine_settings(work), work.device == "cpu"
    cache = settings.get("kv_cache_gb") or (VLLM_CPU_CACHE_GB if cpu else None)
    if cache is None:
        return {"engine": int(float(str(settings["gpu_memory_utilization"])) * work.gpu_memory)}
    wanted = settings.get("dtype")
    size = FLOAT if wanted == "float32" or (wanted == "auto" and cpu) else 2
    # On a CPU the output head has a packed copy of its own, even where it is the embedding.
    head = work.parameters.embedding if cpu and work.shape.tied else 0
    return {
        "engine's weights": size * (work.parameters.language + head),
        "engine's KV cache": int(float(str(cache)) * GIB),
        "engine": VLLM_PROCESS[work.device],
    }
