"""One reading of NVML, for leases and for doctor: of a driver that answers, one that answers in part, one that fails."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from dapoctl.doctor.machine import look
from dapoctl.runs.jobs.gpus import Nvml, read
from dapoctl.runs.jobs.leases import allowed_gpus, devices

GIB = 2**30


def driver(**changed: Any) -> SimpleNamespace:
    """A pynvml with two GPUs; `changed` functions in place of its own."""
    functions = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "580.65",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13_020,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: f"H100 number {handle}",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}{handle}",
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=80 * GIB, used=handle * GIB, free=(80 - handle) * GIB),
        "nvmlDeviceGetCudaComputeCapability": lambda _handle: (9, 0),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=50 + handle),
        "nvmlDeviceGetTemperature": lambda handle, _sensor: 60 + handle,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=7 + handle, usedGpuMemory=None)],
    }  # fmt: skip
    errors = {name: item for name, item in vars(pynvml).items() if name.startswith(("NVMLError", "NVML_TEMPERATURE"))}
    return SimpleNamespace(**errors, **(functions | changed))


def failing(error: int) -> Any:
    def call(*_arguments: Any) -> Any:
        raise pynvml.NVMLError(error)

    return call


def test_leases_and_doctor_see_the_same_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    first, second = devices()
    assert (first.key, first.label, first.name, first.used) == ("GPU-00", "GPU 0", "H100 number 0", 0)
    assert (second.total, second.used, second.utilization, second.temperature) == (80 * GIB, GIB, 51, 61)
    assert second.processes == ((8, 0),)
    assert allowed_gpus([first, second]) == ["GPU-11"]
    machine = look()
    assert [(gpu.uuid, gpu.index, gpu.free, gpu.capability) for gpu in machine.gpus] == [
        ("GPU-11", 1, 79 * GIB, (9, 0))
    ]
    assert (machine.hidden_gpus, machine.driver, machine.driver_cuda) == (1, "580.65", (13, 2))


def test_a_gpu_that_does_not_say_all(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature", "nvmlDeviceGetComputeRunningProcesses")
    silent = driver(**dict.fromkeys(names, failing(pynvml.NVML_ERROR_NOT_SUPPORTED)))
    monkeypatch.setitem(sys.modules, "pynvml", silent)
    assert [(item.utilization, item.temperature, item.processes) for item in devices()] == [(None, None, ())] * 2


def test_no_driver_is_no_problem_and_a_broken_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED):
        monkeypatch.setitem(sys.modules, "pynvml", driver(nvmlInit=failing(error)))
        assert read() == Nvml()
    for function in ("nvmlInit", "nvmlDeviceGetMemoryInfo"):
        monkeypatch.setitem(sys.modules, "pynvml", driver(**{function: failing(pynvml.NVML_ERROR_GPU_IS_LOST)}))
        found = read()
        assert (found.gpus, found.problem) == ((), str(pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)))
        assert look().nvml_problem == found.problem
        assert [device.label for device in devices()] == ["slot 0"]
