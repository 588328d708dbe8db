"""GPUs by name, with the figures of their makers' data sheets that times are estimated from."""

from __future__ import annotations

from dataclasses import dataclass

from dapoctl.errors import UserError, nearest


@dataclass(frozen=True)
class KnownGpu:
    """What its data sheet says."""

    title: str
    gib: float
    """Memory"""
    flops: float
    """bfloat16 operations in a second, dense, added up in float32"""
    bandwidth: float
    """Bytes of memory in a second"""


KNOWN = {
    "h200": KnownGpu("NVIDIA H200 SXM", 141, 989e12, 4.8e12),
    "h100": KnownGpu("NVIDIA H100 SXM", 80, 989e12, 3.35e12),
    "a100": KnownGpu("NVIDIA A100 SXM 80 GB", 80, 312e12, 2.04e12),
    "l40s": KnownGpu("NVIDIA L40S", 48, 362e12, 0.864e12),
    "rtx4090": KnownGpu("NVIDIA GeForce RTX 4090", 24, 165e12, 1.01e12),
    "a10": KnownGpu("NVIDIA A10", 24, 125e12, 0.6e12),
    "l4": KnownGpu("NVIDIA L4", 24, 121e12, 0.3e12),
}


def find_gpu(name: str) -> KnownGpu:
    """The GPU called `name`.

    Raises:
        UserError: it is not known.
    """
    if name.lower() not in KNOWN:
        raise UserError(
            f"--gpu {name}: not a GPU that is known by name.{nearest(name, [*KNOWN])} Known: {', '.join(KNOWN)}"
        )
    return KNOWN[name.lower()]
