"""The memory of a run by part, at the two moments of a step that need most: while sampling and while updating.

Activations are counted, not fitted: the tensors that autograd keeps of one transformer layer are those that the forward
pass of transformers' Llama, Qwen and Gemma saves, one by one, so the count follows the shape. What is fitted are the
numbers in capitals below: how many temporary buffers of the vocabulary's width and of a layer's backward pass exist at
once. tests/unit/doctor/test_memory.py compares the sum with real updates.

Shapes: N tokens, M places in attention's rows, D hidden size, H heads of size d, K key-value heads, F intermediate size,
V vocabulary entries, n tokens of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

from dapoctl.config import budget
from dapoctl.doctor.engine import memory_of
from dapoctl.doctor.machine import GIB
from dapoctl.doctor.workload import FLOAT, Cut, Workload, extremes

HEAD_BUFFERS = {"cpu": 2, "cuda": 3}
"""[n, V] in float32 while a chunk's gradient is computed: logits and probabilities; on a GPU their product, for the entropy"""
REFERENCE_BUFFERS = 2
"""[n, V] more with a reference: its logits and probabilities"""
PENALTY_BUFFERS = 10
"""[n, V] more while a penalty over the vocabulary is computed and differentiated"""
BACKWARD_WIDTHS = 3
"""[N, F] gradients that exist at once in a layer's backward pass"""
STATE_BUFFERS = 8
"""Float32 tensors of a chunk's size while its states are made float32, updated and kept again"""
PROCESS = {"cpu": int(0.75 * GIB), "cuda": int(0.6 * GIB)}
"""What Python and its libraries take in RAM; on a GPU, the CUDA context"""

PARKED = ("weights", "reference")
"""What `train.offload_weights` keeps in the host's memory while responses are sampled"""


@dataclass(frozen=True)
class Estimate:
    """Bytes by part."""

    generating: dict[str, int]
    updating: dict[str, int]
    unknown: str = ""
    """What it leaves out"""

    @property
    def peak(self) -> int:
        """The larger of both sums."""
        return max(sum(self.generating.values()), sum(self.updating.values()))


def estimate(work: Workload) -> Estimate:
    """Memory by part while responses are sampled and while weights are updated."""
    engine = memory_of(work)
    lasting = {"process": PROCESS[work.device], **_weights(work)}
    updating = lasting | engine.updating | _update(work)
    parked = PARKED if work.config.train.offload_weights and work.device == "cuda" else ()
    sampling = {part: size for part, size in lasting.items() if part not in parked}
    return Estimate(_present(sampling | engine.sampling), _present(updating), engine.unknown)


def _present(parts: dict[str, int]) -> dict[str, int]:
    return {name: size for name, size in parts.items() if size}


def _weights(work: Workload) -> dict[str, int]:
    """What is allocated all the time; gradients are dropped at the end of an update."""
    compute = work.compute_bytes
    # A tower for images stays in the host's memory.
    total = work.parameters.language if work.device == "cuda" else work.parameters.total
    if work.adapters:
        return {"weights": compute * total + FLOAT * work.adapters, "optimizer": work.state_bytes}
    narrow = work.matrices if work.config.optim.master_weights else 0
    on_host = work.config.optim.states == "offload" and work.device == "cuda"
    return {
        "weights": FLOAT * total - (FLOAT - compute) * narrow,
        "master weights": 0 if on_host else FLOAT * narrow,
        "optimizer": work.state_bytes,
        "reference": compute * total if work.compares else 0,
    }


def _update(work: Workload) -> dict[str, int]:
    """The largest moment of an update.

    At its first micro-batch only the output head's gradient exists, which comes before those of the layers; at all
    others every gradient does.
    """
    first, largest, _ = extremes(work.config, work.device)
    table = FLOAT * work.shape.vocab * work.shape.hidden
    trained = FLOAT * work.trained
    head, embedding = (0, 0) if work.adapters else (table, table)
    moments = [{"gradients": head, **parts} for parts in _moments(work, first)]
    if largest is not None:
        moments += [{"gradients": trained, **parts} for parts in _moments(work, largest)]
    moments.append({"gradients": trained, "embedding's gradient": embedding})
    if work.config.optim.states != "float32" or work.config.optim.master_weights:
        moments.append({"gradients": trained, "states of a chunk": STATE_BUFFERS * FLOAT * budget.STATE_CHUNK})
    return max(moments, key=lambda parts: sum(parts.values()))


def _moments(work: Workload, cut: Cut) -> list[dict[str, int]]:
    """What a micro-batch needs after its forward pass, at the head, and in its backward pass."""
    shape, checkpointing = work.shape, work.config.train.gradient_checkpointing
    layer, casts = kept_by_layer(work, cut), work.weight_casts
    kept = cut.tokens * 3 * shape.hidden * FLOAT
    if windowed(work, cut):
        kept += cut.width**2 * work.compute_bytes
    # One layer's input is on its way.
    inputs = 1 if work.config.train.offload_activations and work.device == "cuda" else shape.layers
    kept += inputs * cut.tokens * shape.hidden * FLOAT if checkpointing else shape.layers * layer
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
    """Bytes that autograd keeps of one layer for a micro-batch, without weights cast to bfloat16.

    - each norm: its input and its normed input [N, D] float32 (a frozen norm: its input only)
    - inputs of the linear layers; in float32 query, key and value share one, gate and up another
    - the query's and key's norms, if there are any: as above, [N, (H + K) d]
    - attention: query and output [M, H d], key and value [M, K d] (where a window is masked, [M, H d]), log of the
      normaliser [M, H] in float32
    - MLP: gate, its activation, up, and their product [N, F]
    - with adapters: the product with each A, [N, rank]
    """
    shape, decoder, size = work.shape, work.decoder, work.compute_bytes
    rows, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    per_norm = 1 if work.adapters else 2
    norms = decoder.norms * per_norm * shape.hidden * FLOAT
    inputs = (5 if work.computes_16_bits or work.adapters else 2) * shape.hidden * size
    if not work.computes_16_bits:
        inputs = 2 * shape.hidden * size
    qk_norm = 0
    if decoder.qk_norm:
        second = FLOAT if decoder.float_norm else size
        qk_norm = (rows + keys) * (FLOAT + (second if per_norm == 2 else 0))
    mlp = 4 * shape.intermediate * size
    lora = len(work.adapted) * work.config.lora.rank * size / shape.layers
    per_token = norms + inputs + qk_norm + rows * size + mlp + lora
    masked = shape.sliding_layers / shape.layers if windowed(work, cut) else 0.0
    kept_keys = keys + (rows - keys) * masked if work.config.train.packing else rows
    per_place = (2 * rows + 2 * kept_keys) * size + shape.heads * FLOAT
    return int(cut.tokens * per_token + cut.places * per_place)


def windowed(work: Workload, cut: Cut) -> bool:
    """Whether packed rows are longer than the sliding window, so that it takes a mask, one for all layers.

    A GPU's kernel for rows of any length, which computes in bfloat16, takes none.
    """
    window = work.shape.sliding_window
    masked = work.device == "cpu" or not work.computes_16_bits
    return masked and window is not None and cut.width > window and work.config.train.packing


def head_buffers(work: Workload, cut: Cut) -> int:
    """Bytes while the head's gradient of one chunk is computed."""
    shape = work.shape
    rows = min(chunk_tokens(work), valid := cut.rows * work.config.rollout.max_response_tokens)
    buffers = HEAD_BUFFERS[work.device] + REFERENCE_BUFFERS * work.compares + PENALTY_BUFFERS * work.vocab_penalties
    logits = rows * shape.vocab * FLOAT * buffers
    if work.computes_16_bits:
        # The logits' gradient is cast; so is the head's weight, whose gradient is bfloat16 before it is added.
        logits += 2 * rows * shape.vocab + (0 if work.adapters else 2 * 2 * shape.vocab * shape.hidden)
    hidden = (2 + work.compares) * valid * shape.hidden * FLOAT
    return logits + hidden


def chunk_tokens(work: Workload) -> int:
    """Tokens whose logits exist at once (`train.chunk_tokens`, with its default resolved)."""
    return budget.chunk_tokens(work.config.train, work.shape.vocab, work.device, bool(work.vocab_penalties))
