"""What one update and one call of the engine consist of when every prompt and response is as long as allowed.

Shapes: P prompts, G responses each, p prompt tokens, r response tokens.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dapoctl.config.budget import micro_batch_tokens
from dapoctl.doctor.shape import Decoder, Parameters, Shape

if TYPE_CHECKING:
    from dapoctl.components.base import Component
    from dapoctl.config import RunConfig

ALL_LINEAR = "all-linear"
FLOAT = 4
"""Bytes of a float32"""
STATE_BYTES = {"float32": 8, "offload": 8, "bfloat16": 4, "8bit": 2 + 8 / 256}
"""Of AdamW's two averages of one weight, by `optim.states`; with 8 bits a scale for each 256"""


@dataclass(frozen=True)
class Workload:
    """What a run's memory depends on; engines get it to estimate theirs."""

    config: RunConfig
    shape: Shape
    parameters: Parameters
    decoder: Decoder
    engine: Component
    """The component that builds the engine, with its settings"""
    device: Literal["cpu", "cuda"]
    gpu_memory: int = 0
    """Bytes of the GPU"""
    compares: bool = False
    """A component reads the frozen initial policy"""
    vocab_penalties: int = 0
    """Components that read whole distributions"""

    @property
    def computes_16_bits(self) -> bool:
        """Whether layers compute in bfloat16 or float16 (`model.dtype`, with auto resolved)."""
        dtype = self.config.model.dtype
        return dtype in ("bfloat16", "float16") or (dtype == "auto" and self.device == "cuda")

    @property
    def compute_bytes(self) -> int:
        """Bytes of one number that layers compute with."""
        return 2 if self.computes_16_bits else 4

    @property
    def max_tokens(self) -> int:
        """Tokens of a prompt and its response together."""
        return self.config.rollout.max_prompt_tokens + self.config.rollout.max_response_tokens

    @functools.cached_property
    def adapted(self) -> list[tuple[int, ...]]:
        """The shapes of the linear layers' weights that have adapters; empty when all weights are trained."""
        if not self.config.lora.rank:
            return []
        targets = self.config.lora.targets
        return [
            extents
            for name, extents in self.decoder.linear.items()
            if any(target == ALL_LINEAR or f".{name}".endswith(f".{target}") for target in targets)
        ]

    @property
    def adapters(self) -> int:
        """Parameters of the adapters; 0 when all weights are trained."""
        return self.config.lora.rank * sum(map(sum, self.adapted))

    @property
    def trained(self) -> int:
        """Parameters that the optimizer changes."""
        return self.adapters or self.parameters.language

    @property
    def state_bytes(self) -> int:
        """Bytes of the optimizer's states on the device (`optim.states`)."""
        if self.config.optim.states == "offload" and self.device == "cuda":
            return 0
        return int(STATE_BYTES[self.config.optim.states] * self.trained)

    @functools.cached_property
    def matrices(self) -> int:
        """Parameters of the layers' matrices."""
        return sum(map(math.prod, self.decoder.linear.values()))

    @property
    def key_bytes(self) -> int:
        """Bytes of one number of a cached key.

        Rotary embeddings give float32 keys if the hidden states are float32: unless frozen weights are in bfloat16.
        """
        return self.compute_bytes if self.adapters else FLOAT

    @functools.cached_property
    def weight_casts(self) -> int:
        """Bytes of the bfloat16 copies of all layers' weights that autocast makes and autograd keeps until the backward
        pass."""
        if not self.computes_16_bits or self.config.optim.master_weights:
            return 0
        return 2 * (self.adapters or self.matrices)

    def kv_cache(self, rows: int, length: int) -> int:
        """Bytes of keys and values of `rows` sequences of `length` tokens, as transformers keeps them."""
        shape = self.shape
        window = min(length, shape.sliding_window or length)
        tokens = shape.sliding_layers * window + (shape.layers - shape.sliding_layers) * length
        return rows * tokens * shape.kv_heads * shape.head_dim * (self.key_bytes + self.compute_bytes)


@dataclass(frozen=True, slots=True)
class Cut:
    """A micro-batch."""

    tokens: int
    """N: tokens that go through the layers, a shared prompt once when packed"""
    rows: int
    """Responses"""
    width: int
    """Tokens of a row over which attention is computed: a prompt and a response"""
    blocks: int
    """Calls of attention in a layer: once per group when packed"""

    @property
    def places(self) -> int:
        """M: tokens in all rows, copies of shared prompts included."""
        return self.rows * self.width


def cuts(config: RunConfig, device: str) -> Iterator[Cut]:
    """The micro-batches of one optimizer update (the largest of the step), in order."""
    return _cuts(*_extents(config, device))


def extremes(config: RunConfig, device: str) -> tuple[Cut, Cut | None, int]:
    """(the first micro-batch of an update, the largest after it, how many there are)."""
    return _extremes(*_extents(config, device))


def _extents(config: RunConfig, device: str) -> tuple[bool, int, int, int, int, int]:
    rollout, train = config.rollout, config.train
    groups = math.ceil(rollout.prompts / min(config.optim.updates, rollout.prompts))
    prompt, response = rollout.max_prompt_tokens, rollout.max_response_tokens - 1
    return train.packing, groups, rollout.samples, prompt, response, micro_batch_tokens(train, device)


@functools.lru_cache
def _extremes(*extents: Any) -> tuple[Cut, Cut | None, int]:
    # Cached, since most proposals do not change the micro-batches.
    micro_batches = _cuts(*extents)
    first, largest, count = next(micro_batches), None, 1
    for cut in micro_batches:
        count += 1
        if largest is None or (cut.tokens, cut.places) > (largest.tokens, largest.places):
            largest = cut
    return first, largest, count


def _cuts(packing: bool, groups: int, samples: int, prompt: int, response: int, budget: int) -> Iterator[Cut]:
    width = prompt + response
    if not packing:
        remaining, at_once = groups * samples, max(1, budget // width)
        while remaining:
            size = min(remaining, at_once)
            remaining -= size
            yield Cut(size * width, size, width, 1)
        return
    tokens = rows = blocks = 0
    for _ in range(groups):
        first_of_group = True
        for _ in range(samples):
            added = response + (prompt if first_of_group else 0)
            if rows and tokens + added > budget:
                yield Cut(tokens, rows, width, blocks)
                tokens, rows, blocks, first_of_group = 0, 0, 0, True
                added = width
            tokens, rows, blocks, first_of_group = tokens + added, rows + 1, blocks + first_of_group, False
    yield Cut(tokens, rows, width, blocks)
