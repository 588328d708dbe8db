"""The machine: GPUs by NVML, memory, processors, disk. No torch: asking it would take seconds and a CUDA context."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that this process may use."""

    index: int
    """As NVML counts"""
    name: str
    total: int
    """Bytes"""
    free: int
    """Bytes that nobody uses now"""
    capability: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run would find."""

    gpus: tuple[Gpu, ...] = ()
    hidden_gpus: int = 0
    """GPUs that CUDA_VISIBLE_DEVICES leaves out"""
    driver: str = ""
    driver_cuda: tuple[int, int] | None = None
    """The newest CUDA that the driver serves"""
    nvml_problem: str = ""
    """Why the GPUs could not be asked, although there is a driver"""
    memory: int = 0
    """Bytes of RAM, or of the container's limit"""
    memory_free: int = 0
    """Bytes of it that a new process can have"""
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
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(**_nvml(), memory=total, memory_free=free, cpus=cpus, cpu_quota=_cpu_quota())


def _nvml() -> dict[str, Any]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return {}
    except pynvml.NVMLError as error:
        return {"nvml_problem": str(error)}
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        uuids = [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
        chosen = visible(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return {
            "gpus": tuple(_gpu(index, handles[index]) for index in chosen),
            "hidden_gpus": len(handles) - len(chosen),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "driver_cuda": (cuda // 1000, cuda % 1000 // 10),
        }
    except pynvml.NVMLError as error:
        return {"nvml_problem": str(error)}
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int, handle: Any) -> Gpu:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    capability = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Gpu(index, pynvml.nvmlDeviceGetName(handle), memory.total, memory.free, tuple(capability))


def visible(setting: str | None, uuids: Sequence[str]) -> list[int]:
    """Indices of the GPUs that CUDA_VISIBLE_DEVICES = `setting` shows: as CUDA reads it, up to the first unknown one."""
    if setting is None:
        return list(range(len(uuids)))
    found: list[int] = []
    for word in (word.strip() for word in setting.split(",")):
        if word.isdigit() and int(word) < len(uuids):
            found.append(int(word))
        elif (
            word and not word.lstrip("-").isdigit() and (fits := [i for i, u in enumerate(uuids) if u.startswith(word)])
        ):
            found.append(fits[0])
        else:
            break
    return found


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


def size(amount: float) -> str:
    """Bytes as `812 MiB` or `1.3 GiB`."""
    return f"{amount / GIB:.1f} GiB" if amount >= GIB else f"{amount / 2**20:.0f} MiB"


def disk(path: Path) -> tuple[Path, int]:
    """(the nearest folder of `path` that exists, bytes free there)."""
    folder = path.expanduser().absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder, shutil.disk_usage(folder).free
