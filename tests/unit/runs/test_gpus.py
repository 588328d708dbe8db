"""One reading of NVML, for leases and for doctor: of a driver that answers, one that answers in part, one that fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from dapoctl.doctor.machine import look
from dapoctl.errors import UserError
from dapoctl.runs.jobs.control import in_front, ticket_for
from dapoctl.runs.jobs.gpus import Gpu, Nvml, is_hiding, read, visible
from dapoctl.runs.jobs.leases import allowed_gpus, devices, foreign, holder

GIB = 2**30


@pytest.fixture(autouse=True)
def _all_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests hide the GPUs; these make theirs up."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


def memory(used: Callable[[Any], float], reserved: float = 0) -> Callable[..., SimpleNamespace]:
    """Of 80 GiB, of which `used` GiB are in use; asked for the second form of the answer, `reserved` is a part of that."""

    def answer(handle: Any, _version: Any = None) -> SimpleNamespace:
        free = 80 - used(handle)
        return SimpleNamespace(
            total=80 * GIB, used=int(used(handle) * GIB), free=int(free * GIB), reserved=int(reserved * GIB)
        )

    return answer


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
        "nvmlDeviceGetMemoryInfo": memory(lambda handle: handle),
        "nvmlDeviceGetMigMode": lambda _handle: (0, 0),
        "nvmlDeviceGetGraphicsRunningProcesses": lambda _handle: [],
        "nvmlDeviceGetCudaComputeCapability": lambda _handle: (9, 0),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=50 + handle),
        "nvmlDeviceGetTemperature": lambda handle, _sensor: 60 + handle,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=7 + handle, usedGpuMemory=None)],
    }  # fmt: skip
    kept = ("NVMLError", "NVML_TEMPERATURE", "nvmlMemory_v2")
    errors = {name: item for name, item in vars(pynvml).items() if name.startswith(kept)}
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


def test_a_gpu_that_does_not_say_how_much_memory_it_has_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice in a container (no permission), a GPU that shares the machine's memory (not supported)."""
    for error in (pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_NOT_SUPPORTED):
        monkeypatch.setitem(sys.modules, "pynvml", driver(nvmlDeviceGetMemoryInfo=failing(error)))
        first, _ = devices()
        assert (first.is_gpu, first.total, foreign(first)) == (True, 0, "")
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda place: (60 * GIB + place, 80 * GIB))
        machine = look()
        assert machine.nvml_problem == ""
        assert [(gpu.free, gpu.total) for gpu in machine.gpus] == [(60 * GIB, 80 * GIB), (60 * GIB + 1, 80 * GIB)]


def test_a_divided_gpu_is_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    def slice_of(handle: int, number: int) -> Any:
        if number == 2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return f"{handle}.{number}"

    divided = driver(
        nvmlDeviceGetMigMode=lambda handle: (int(handle == 1), 0),
        nvmlDeviceGetMaxMigDeviceCount=lambda _handle: 3,
        nvmlDeviceGetMigDeviceHandleByIndex=slice_of,
        nvmlDeviceGetUUID=lambda handle: f"MIG-{handle}" if isinstance(handle, str) else f"GPU-{handle}{handle}",
        nvmlDeviceGetMemoryInfo=memory(lambda _handle: 0),
        nvmlDeviceGetTemperature=failing(pynvml.NVML_ERROR_NOT_SUPPORTED),
        nvmlDeviceGetComputeRunningProcesses=lambda _handle: [],
        nvmlDeviceGetUtilizationRates=failing(pynvml.NVML_ERROR_NOT_SUPPORTED),
    )
    monkeypatch.setitem(sys.modules, "pynvml", divided)
    found = [(device.key, device.label) for device in devices()]
    assert found == [("GPU-00", "GPU 0"), ("MIG-1.0", "GPU 1.0"), ("MIG-1.1", "GPU 1.1")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1.1")
    assert allowed_gpus(devices()) == ["MIG-1.1"]
    assert [gpu.uuid for gpu in look().gpus] == ["MIG-1.1"]


def test_memory_that_no_program_computes_with_is_free_for_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A desktop's windows take 1.3 GiB: a queued run would wait for them for ever."""
    desktop = [
        SimpleNamespace(pid=1, usedGpuMemory=int(0.9 * GIB)),
        SimpleNamespace(pid=2, usedGpuMemory=int(0.4 * GIB)),
    ]
    none: dict[str, Any] = {"nvmlDeviceGetComputeRunningProcesses": lambda _handle: []}
    for used, drawing, words in (
        (1.8, desktop, ""),
        (1.8, [], "1.3 GiB in use by another process"),
        (0.9, [], ""),
        (9.8, desktop, "8.0 GiB in use by another process"),
    ):
        answers = {"nvmlDeviceGetMemoryInfo": memory(lambda _handle, used=used: used, 0.5)}
        answers |= {"nvmlDeviceGetGraphicsRunningProcesses": lambda _handle, drawing=drawing: drawing}
        monkeypatch.setitem(sys.modules, "pynvml", driver(**answers, **none))
        assert foreign(devices()[0]) == words
    # One that computes and draws is not set aside.
    both = {"nvmlDeviceGetGraphicsRunningProcesses": lambda _handle: [SimpleNamespace(pid=7, usedGpuMemory=4 * GIB)]}
    monkeypatch.setitem(sys.modules, "pynvml", driver(nvmlDeviceGetMemoryInfo=memory(lambda _handle: 4), **both))
    assert foreign(devices()[0]) == "4.0 GiB in use by PID 7"


def test_visible_devices_as_cuda_reads_them() -> None:
    here = [Gpu(index, "H100", 80, 80, uuid=uuid) for index, uuid in enumerate(["GPU-aa11", "GPU-bb22", "GPU-cc33"])]
    assert visible(None, here) == [0, 1, 2]
    assert visible("2,0", here) == [2, 0]
    assert visible("GPU-bb", here) == [1]
    assert visible("1,7,0", here) == [1]
    assert visible("MIG-x", here) == []
    slices = [here[0], *(Gpu(1, "H100", 20, 20, uuid=f"MIG-{number}", instance=number) for number in range(2))]
    assert visible("1,0", slices) == [1, 0]
    for hiding in ("-1", "", "NoDevFiles", " ", "-1,0"):
        assert visible(hiding, here) == []
        assert is_hiding(hiding)
    assert not any(map(is_hiding, ("0", "GPU-bb", "MIG-x", "7")))


@pytest.mark.parametrize("hiding", ["", "-1", "NoDevFiles"])
def test_who_hides_the_gpus_does_not_train_on_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hiding: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hiding)
    assert [device.key for device in devices()] == ["slot-0"]
    with in_front("mine", {}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == hiding
        assert holder(devices()[0]) == ""
    # In the background it waits for a slot, also where the process that starts it sees the GPUs.
    assert ticket_for(tmp_path, {}).only == ("slot-0",)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert ticket_for(tmp_path, {}).only == ()


def test_a_name_that_the_driver_does_not_list_is_refused_in_the_background(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-33/1/0")
    with pytest.raises(
        UserError, match=r"shows none of the GPUs that the driver lists, .* name one \(GPU-00, GPU-11\)"
    ):
        ticket_for(tmp_path, {})


def test_a_slice_that_the_driver_does_not_list_is_leased_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not another tenant's: the variable stays as it is, and two runs of one name are kept apart."""
    name = "MIG-GPU-33/1/0"
    monkeypatch.setitem(sys.modules, "pynvml", driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
    with in_front("first", {}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == name
        assert [holder(device) for device in devices()] == ["", ""]
        with pytest.raises(UserError, match=f"no GPU is free: {name} leased by first"), in_front("second", {}):
            pass


def test_one_of_those_that_are_shown_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with in_front("mine", {}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-11"
        assert [holder(device) for device in devices()] == ["", "mine"]


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
