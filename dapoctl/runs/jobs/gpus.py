"""The GPUs of this machine, by NVML. No torch: asking it would take seconds and a CUDA context."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, as it is now."""

    index: int
    """As NVML counts"""
    name: str
    total: int
    """Bytes"""
    free: int
    """Bytes that no process uses now"""
    capability: tuple[int, int] = (0, 0)
    uuid: str = ""
    utilization: int | None = None
    """Percent"""
    temperature: int | None = None
    """Degrees Celsius"""
    processes: tuple[tuple[int, int], ...] = ()
    """Those that compute: (PID, bytes of GPU memory)"""
    instance: int | None = None
    """Of a slice of the GPU (MIG): which one"""
    set_aside: int = 0
    """Bytes that are used and that no program computes with: the driver's reserve, and what screens and windows take"""

    @property
    def label(self) -> str:
        """GPU 0; of its second slice GPU 0.1."""
        return f"GPU {self.index}" + ("" if self.instance is None else f".{self.instance}")


@dataclass(frozen=True, slots=True)
class Nvml:
    """What NVML says; empty without a driver."""

    gpus: tuple[Gpu, ...] = ()
    """All of them, regardless of CUDA_VISIBLE_DEVICES; of one that is divided (MIG) its slices"""
    driver: str = ""
    driver_cuda: tuple[int, int] | None = None
    """The newest CUDA that the driver supports"""
    problem: str = ""
    """Why the GPUs could not be queried, although there is a driver"""


def read() -> Nvml:
    """Ask the driver. Nothing else does, so that tests can replace the machine here."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return Nvml()
    except pynvml.NVMLError as error:
        return Nvml(problem=str(error))
    try:
        count, cuda = pynvml.nvmlDeviceGetCount(), pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return Nvml(
            gpus=tuple(gpu for index in range(count) for gpu in _gpus(index, pynvml.nvmlDeviceGetHandleByIndex(index))),
            driver=pynvml.nvmlSystemGetDriverVersion(),
            driver_cuda=(cuda // 1000, cuda % 1000 // 10),
        )
    except pynvml.NVMLError as error:
        return Nvml(problem=str(error))
    finally:
        pynvml.nvmlShutdown()


def _gpus(index: int, handle: Any) -> list[Gpu]:
    """The GPU; where it is divided, its slices: nothing can compute on the whole."""
    import pynvml

    mode = _ask(pynvml.nvmlDeviceGetMigMode, handle)
    if not mode or not mode[0]:
        return [_gpu(index, handle)]
    slices = range(_ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)
    handles = [_ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number) for number in slices]
    capability = tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    return [
        dataclasses.replace(_gpu(index, found), instance=number, capability=capability)
        for number, found in enumerate(handles)
        if found is not None
    ]


def _gpu(index: int, handle: Any) -> Gpu:
    import pynvml

    # Neither a slice in a container nor a GPU that shares the machine's memory need say how much it has.
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    detailed = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    rates = _ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    running = _ask(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    drawing = _ask(pynvml.nvmlDeviceGetGraphicsRunningProcesses, handle) or []
    computing = {process.pid for process in running}
    return Gpu(
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        total=0 if memory is None else memory.total,
        free=0 if memory is None else memory.free,
        capability=tuple(_ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle) or (0, 0)),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        utilization=None if rates is None else rates.gpu,
        temperature=_ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        processes=tuple((process.pid, process.usedGpuMemory or 0) for process in running),
        set_aside=(0 if detailed is None else detailed.reserved)
        + sum(process.usedGpuMemory or 0 for process in drawing if process.pid not in computing),
    )


def _ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the driver answers; None where this GPU, or the user's rights, have no answer."""
    import pynvml

    try:
        return function(*arguments)
    except (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_Uninitialized):
        raise
    except pynvml.NVMLError:
        return None


def visible(setting: str | None, here: Sequence[Gpu]) -> list[int]:
    """Positions in `here` of the GPUs that CUDA_VISIBLE_DEVICES = `setting` shows: as CUDA reads it, up to the first unknown
    one. The number of a divided GPU is its first slice.
    """
    if setting is None:
        return list(range(len(here)))
    found: list[int] = []
    for word in (word.strip() for word in setting.split(",")):
        numbered = word.isdecimal()
        matches = [
            position
            for position, gpu in enumerate(here)
            if (gpu.index == int(word) if numbered else word and not is_hiding(word) and gpu.uuid.startswith(word))
        ]
        if not matches:
            break
        found.append(matches[0])
    return found


def is_hiding(setting: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES = `setting` hides every GPU: nothing, a negative number or `NoDevFiles` comes first."""
    first = setting.split(",")[0].strip()
    return first in ("", "NoDevFiles", "none", "void") or first.startswith("-")
