"""Defaults of `[train]` by device: how many tokens go through the model, and through its head, at once."""

from __future__ import annotations

from dapoctl.config.schema import TrainConfig

MIB = 2**20
MICRO_BATCH_TOKENS = {"cpu": 768, "cuda": 4096}
"""More at once are not faster, and activation memory grows in proportion"""
CHUNK_BYTES = {"cpu": 64 * MIB, "cuda": 512 * MIB}
"""Of one chunk's float32 logits"""
LEAST_CHUNK = 256
"""Tokens; matrix products with fewer rows are slow, however large the vocabulary"""
PENALTY_SHARE = 4
"""A penalty over the vocabulary keeps about ten tensors of a chunk's size for its gradient: chunks are that much smaller"""

STATE_CHUNK = 2**22
"""Numbers of a parameter that are updated at once where the optimizer's states are not float32 on the device"""


def micro_batch_tokens(train: TrainConfig, device: str) -> int:
    """`train.micro_batch_tokens`, with its default for a device of type `device` (cpu, cuda)."""
    return train.micro_batch_tokens or MICRO_BATCH_TOKENS[device]


def chunk_tokens(train: TrainConfig, vocabulary: int, device: str, penalized: bool = False) -> int:
    """`train.chunk_tokens`, with its default; `penalized` if a penalty looks at the whole vocabulary."""
    whole = max(LEAST_CHUNK, CHUNK_BYTES[device] // (4 * vocabulary))
    return train.chunk_tokens or max(1, whole // (PENALTY_SHARE if penalized else 1))
