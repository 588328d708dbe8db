"""The machine: GPUs, memory, processors, disk."""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from dapoctl.runs.jobs import gpus
from dapoctl.runs.jobs.gpus import Gpu, visible

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Machine:
    """What is available to a run."""

    gpus: tuple[Gpu, ...] = ()
    """Those that this process may use"""
    hidden_gpus: int = 0
    """GPUs that CUDA_VISIBLE_DEVICES hides"""
    driver: str = ""
    driver_cuda: tuple[int, int] | None = None
    """The newest CUDA that the driver supports"""
    nvml_problem: str = ""
    """Why the GPUs could not be queried, although there is a driver"""
    memory: int = 0
    """Bytes of RAM, or of the container's limit"""
    memory_free: int = 0
    """Bytes of it that a new process can get"""
    cpus: int = 1
    """Processors that this process may run on"""
    cpu_quota: float | None = None
    """Processors' worth of time that the container gets"""


def look() -> Machine:
    """This machine, now."""
    import psutil

    memory = psutil.virtual_memory()
    limit, used = _memory_limit()
    total = min(memory.total, limit or memory.total)
    free = min(memory.available, total - used) if limit else memory.available
    nvml = gpus.read()
    visible_indices = visible(os.environ.get("CUDA_VISIBLE_DEVICES"), nvml.gpus)
    return Machine(
        gpus=tuple(_with_memory(nvml.gpus[index], place) for place, index in enumerate(visible_indices)),
        hidden_gpus=len(nvml.gpus) - len(visible_indices),
        driver=nvml.driver,
        driver_cuda=nvml.driver_cuda,
        nvml_problem=nvml.problem,
        memory=total,
        memory_free=free,
        cpus=processors(),
        cpu_quota=_cpu_quota(),
    )


def _with_memory(gpu: Gpu, place: int) -> Gpu:
    """The GPU with its memory: where the driver does not say, as CUDA counts it, which takes seconds."""
    if gpu.total:
        return gpu
    import torch

    try:
        free, total = torch.cuda.mem_get_info(place)
    except (RuntimeError, AssertionError, ValueError):
        return gpu
    return dataclasses.replace(gpu, total=total, free=free)


def _memory_limit() -> tuple[int | None, int]:
    """(the container's limit in bytes or None, what it uses that cannot be given back)."""
    for folder, limit, usage in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        text = _read(f"{folder}/{limit}")
        if text.isdigit() and int(text) < 2**60:
            stat = dict(line.split() for line in _read(f"{folder}/memory.stat").splitlines() if line.count(" ") == 1)
            used = int(_read(f"{folder}/{usage}") or 0) - int(stat.get("inactive_file", 0))
            return int(text), max(0, used)
    return None, 0


def _cpu_quota() -> float | None:
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def busy_words(device: str, threads: int | None) -> str:
    """What to say if others keep the processors busy and nobody chose how many threads compute; else empty.

    Every operation waits for the slowest of its threads, and one that has to wait for a processor is slow.

    Args:
        device: type of the device that computes (cpu, cuda)
        threads: `train.threads`
    """
    if device != "cpu" or threads is not None or "OMP_NUM_THREADS" in os.environ or not hasattr(os, "getloadavg"):
        return ""
    cpus, load = processors(), os.getloadavg()[0]
    if cpus == 1 or load <= cpus:
        return ""
    return (
        f"this machine is busy: a load of {load:.0f} on {cpus} processors, and `train.threads` is not set, so that all work"
        f" waits for the slowest of {cpus} threads; --set train.threads=1 may be several times faster"
    )


def processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def disk(path: Path) -> tuple[Path, int]:
    """(the nearest folder of `path` that exists, bytes free there)."""
    folder = path.expanduser().absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder, shutil.disk_usage(folder).free
