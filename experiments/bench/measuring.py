"""Memory, matrix products, and the arithmetic of a model."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

MIB = 2**20
STATUS = Path("/proc/self/status")
SIZES = ((1024, 1024, 1024), (2048, 2048, 2048), (512, 1024, 4096))
"""[m, k] x [k, n]: roughly the matrix products of a small model's layers"""


def status_bytes(field: str) -> int:
    """A size in this process's /proc status, such as VmRSS."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{STATUS} has no field {field}")


class PeakMemory:
    """Peak memory above weights, gradients and optimizer state, of a process or of its GPU.

    Create it when weights and optimizer state exist. Gradients that do not exist at that moment are counted as if they did:
    one side frees them at the end of an update, the other at the start of the next.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        gc.collect()
        missing = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad and p.grad is None)
        if self.cuda:
            import torch

            torch.cuda.empty_cache()
            self.base = torch.cuda.memory_allocated() + missing
            torch.cuda.reset_peak_memory_stats()
            return
        # Freed memory that the allocator still holds would hide later allocations.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        self.base = status_bytes("VmRSS") + missing
        # If this is not allowed, the peak is that of the whole process, including its warm-up update.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def above(self) -> int:
        """Peak bytes above the base since then."""
        if self.cuda:
            import torch

            return torch.cuda.max_memory_allocated() - self.base
        return status_bytes("VmHWM") - self.base


def matmul_parameters(model: nn.Module) -> int:
    """Weights that a token is multiplied with: every linear layer and the output head, tied or not, once each.

    The embedding is a look-up and costs nothing; norms and biases are ignored.
    """
    from torch import nn

    return sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))


def update_flops(parameters: int, tokens: int) -> int:
    """Floating-point operations of forward and backward: 6 for each weight and token, without attention scores."""
    return 6 * parameters * tokens


def gemm_rate(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Floating-point operations per second of the fastest of some matrix products, each tried for `seconds`."""
    import torch

    best = 0.0
    for m, k, n in SIZES:
        a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype)
        torch.mm(a, b)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            begun = time.perf_counter()
            torch.mm(a, b)
            synchronize(device)
            best = max(best, 2 * m * k * n / (time.perf_counter() - begun))
    return best


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize()
