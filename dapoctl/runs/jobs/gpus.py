"""The GPUs of this machine, by NVML. No torch: asking it would take seconds and a CUDA context."""

from __future__ import annotations

from collections.abc import Sequence
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
    """(PID, bytes of GPU memory)"""


@dataclass(frozen=True, slots=True)
class Nvml:
    """What NVML says; empty without a driver."""

    gpus: tuple[Gpu, ...] = ()
    """All of them, regardless of CUDA_VISIBLE_DEVICES"""
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
            gpus=tuple(_gpu(index, pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)),
            driver=pynvml.nvmlSystemGetDriverVersion(),
            driver_cuda=(cuda // 1000, cuda % 1000 // 10),
        )
    except pynvml.NVMLError as error:
        return Nvml(problem=str(error))
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int, handle: Any) -> Gpu:
    import pynvml

    def ask(function: Any, *arguments: Any) -> Any:
        try:
            return function(handle, *arguments)
        except pynvml.NVMLError:
            return None

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    rates = ask(pynvml.nvmlDeviceGetUtilizationRates)
    running = ask(pynvml.nvmlDeviceGetComputeRunningProcesses) or []
    return Gpu(
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        total=memory.total,
        free=memory.free,
        capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        utilization=None if rates is None else rates.gpu,
        temperature=ask(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
        processes=tuple((process.pid, process.usedGpuMemory or 0) for process in running),
    )


def visible(setting: str | None, uuids: Sequence[str]) -> list[int]:
    """Indices of the GPUs that CUDA_VISIBLE_DEVICES = `setting` shows: as CUDA reads it, up to the first unknown one."""
    if setting is None:
        return list(range(len(uuids)))
    indices: list[int] = []
    for word in (word.strip() for word in setting.split(",")):
        if word.isdigit() and int(word) < len(uuids):
            indices.append(int(word))
        elif (
            word
            and not word.lstrip("-").isdigit()
            and (matches := [i for i, u in enumerate(uuids) if u.startswith(word)])
        ):
            indices.append(matches[0])
        else:
            break
    return indices
