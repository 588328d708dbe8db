"""Whether torch, the driver and the GPU suit each other, read from torch's files without importing it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dapoctl.doctor.checks import Check
from dapoctl.doctor.machine import Machine
from dapoctl.runs.amounts import byte_size

BESIDE_TORCH = ("torchvision", "torchaudio")
"""Packages with compiled parts that transformers imports if they are installed; they must match torch's build"""
OVERRIDES = ("libcudart", "libcublas", "libcudnn", "libnccl", "libnvJitLink", "libcusparse")
"""Libraries that come with torch; others of the same name on LD_LIBRARY_PATH are loaded in their place"""
NATIVE_BFLOAT16 = (8, 0)
"""Compute capability from which a GPU multiplies bfloat16"""


@dataclass(frozen=True, slots=True)
class Build:
    """A compiled package."""

    version: str
    cuda: str | None = None
    """The CUDA it was built for, such as `13.0`; None for a CPU build"""
    hip: str | None = None


def build_of(package: str) -> Build | None:
    """The build of an installed package with a `version.py`; None if it is not installed or has no such file."""
    try:
        file = Path(str(metadata.distribution(package).locate_file(f"{package}/version.py")))
        source = file.read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, OSError):
        return None
    values = dict(re.findall(r"^(\w+)(?:\s*:[^=]*)?\s*=\s*['\"]([^'\"]*)['\"]", source, re.MULTILINE))
    name = values.get("__version__", metadata.version(package))
    tag = re.search(r"\+cu(\d+)(\d)", name)
    return Build(name, values.get("cuda") or (f"{tag[1]}.{tag[2]}" if tag else None), values.get("hip"))


def check_accelerator(build: Build | None, machine: Machine, device: str) -> list[Check]:
    """Torch, then the GPUs, for `train.device` = `device`."""
    if build is None:
        return [Check("torch", "fail", "not installed", "pip install torch==2.13.0")]
    return [_torch(build, machine, device), *_gpus(machine), *_neighbours(build), *_library_path(build)]


def _torch(build: Build, machine: Machine, device: str) -> Check:
    summary = f"{build.version}, " + (f"built for CUDA {build.cuda}" if build.cuda else "built for CPU")
    if build.hip:
        return Check("torch", "note", f"{build.version}, built for ROCm {build.hip}; AMD GPUs are not checked")
    if device == "cpu":
        return Check("torch", "ok", summary)
    if build.cuda is None and machine.gpus:
        text = f"{summary}, so the GPU stays idle"
        return Check("torch", "fail", text, f"{_install(build, machine)}; or --set train.device=cpu")
    if build.cuda is None or not machine.gpus:
        if device != "auto":
            return Check(
                "torch", "fail", f"{summary}; `train.device` = {device!r} needs a GPU", "--set train.device=auto"
            )
        return Check("torch", "ok", f"{summary}; training runs on the CPU")
    # Releases of one major version of CUDA run on every driver of that major version.
    if machine.driver_cuda and machine.driver_cuda[0] < int(build.cuda.split(".")[0]):
        supported = ".".join(str(part) for part in machine.driver_cuda)
        text = f"{summary}; driver {machine.driver} supports CUDA {supported} at most, so torch will not see the GPU"
        return Check("torch", "fail", text, f"install a newer driver, or a build of torch for CUDA {supported}")
    return Check("torch", "ok", summary)


def _install(build: Build, machine: Machine) -> str:
    release = build.version.partition("+")[0]
    supported = ".".join(str(part) for part in machine.driver_cuda or ())
    return f"pip install --force-reinstall torch=={release}" + (
        f" (a build for CUDA {supported} or older)" if supported else ""
    )


def _gpus(machine: Machine) -> Iterator[Check]:
    if machine.nvml_problem:
        yield Check(
            "gpu", "fail", f"the driver does not answer: {machine.nvml_problem}", "restart, or reinstall the driver"
        )
    elif not machine.gpus:
        hidden = f"; CUDA_VISIBLE_DEVICES hides {machine.hidden_gpus}" if machine.hidden_gpus else ""
        yield Check("gpu", "note", f"none{hidden}")
    for gpu in machine.gpus:
        text = f"{gpu.index}: {gpu.name}, {byte_size(gpu.free)} of {byte_size(gpu.total)} free, driver {machine.driver}"
        if gpu.capability < NATIVE_BFLOAT16:
            major, minor = gpu.capability
            text += f"; compute capability {major}.{minor} has no bfloat16"
            yield Check("gpu", "warn", text, "--set model.dtype=float16, or float32 for a model that exceeds its range")
        else:
            yield Check("gpu", "ok", text)


def _neighbours(build: Build) -> Iterator[Check]:
    for name in BESIDE_TORCH:
        other = build_of(name)
        if other and (other.cuda is None) != (build.cuda is None):
            text = f"{other.version} does not import beside torch {build.version}, and transformers fails with it"
            yield Check(name, "fail", text, f"pip uninstall {name}")


def _library_path(build: Build) -> Iterator[Check]:
    if build.cuda is None:
        return
    for folder in filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")):
        libraries = sorted({name for name in OVERRIDES if next(Path(folder).glob(f"{name}.so*"), None)})
        if libraries:
            text = f"LD_LIBRARY_PATH has {folder} with {', '.join(libraries)}, which torch loads in place of its own"
            yield Check("libraries", "warn", text, "unset LD_LIBRARY_PATH when torch fails to load or to find symbols")
