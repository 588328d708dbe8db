"""Memory: how much was in use at once, and whether a failure came from too little of it."""

from __future__ import annotations

import torch


def memory_in_use(device: torch.device) -> float:
    """Bytes of the GPU that are taken, by whoever; of a CPU the process's largest resident size.

    torch's own count will not do: an engine's memory that sleeps is still counted, and what a driver takes is not. After a
    phase, its peak is still there: torch keeps what was freed.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return float(total - free)
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def out_of_memory_where(failure: BaseException) -> str | None:
    """What ran out of memory, `GPU` or `system`, when that is what `failure` came from; else None."""
    cause: BaseException | None = failure
    while cause is not None:
        # vLLM's allocator reports the driver's own words as a RuntimeError.
        told = isinstance(cause, RuntimeError) and "CUDA Error: out of memory" in str(cause)
        if told or isinstance(cause, torch.OutOfMemoryError):
            return "GPU"
        # torch's allocator for CPUs has no error of its own.
        lacking = isinstance(cause, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(cause)
        if lacking or isinstance(cause, MemoryError):
            return "system"
        cause = cause.__cause__
    return None
