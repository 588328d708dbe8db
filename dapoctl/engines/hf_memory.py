"""Memory that sampling with transformers takes beside the weights, which are the trainer's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dapoctl.doctor.workload import Workload

FLOAT = 4
DRAW_BUFFERS = 4
"""[rows, V] while a token is drawn"""
NUCLEUS_BUFFERS = 6
"""[rows, V] more with top_p: sorted values, their indices (8 bytes), cumulative sums, masked values"""


def decoding(work: Workload, max_sequences: int) -> dict[str, int]:
    """Key-value cache and what one decoding step needs, for training or evaluation, whichever takes more."""
    rollout, evaluation = work.config.rollout, work.config.eval
    calls = [(rollout.prompts, rollout.samples, rollout.top_p)]
    if evaluation.every:
        calls.append((evaluation.limit, evaluation.k, evaluation.top_p))
    estimates = [_step(work, min(prompts, max(1, max_sequences // n)) * n, top_p) for prompts, n, top_p in calls]
    return max(estimates, key=lambda parts: sum(parts.values()))


def _step(work: Workload, rows: int, top_p: float) -> dict[str, int]:
    shape, size, key_size = work.shape, work.compute_bytes, work.key_bytes
    buffers = DRAW_BUFFERS + (NUCLEUS_BUFFERS if top_p < 1 else 0)
    # Without a shortcut for grouped queries, each layer copies its keys and values once per head.
    # Keys in float32 are then cast for attention in bfloat16.
    copies = key_size + size + (size if key_size != size else 0)
    repeated = copies * rows * work.max_tokens * shape.heads * shape.head_dim
    cache = work.kv_cache(rows, work.max_tokens)
    return {
        "KV cache": cache + cache // shape.layers,
        "decoding": repeated + rows * shape.vocab * FLOAT * buffers,
        "merged adapters": FLOAT * sum(map(math.prod, work.adapted)) if size == FLOAT else 0,
        "weights in bfloat16": work.weight_casts,
    }
