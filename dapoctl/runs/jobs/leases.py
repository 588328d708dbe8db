"""What a run computes on: GPUs, or slots if there are none; and the leases that keep two runs off the same one.

A lease is a lock on a file of this machine, named after the GPU's UUID: every dapoctl process here, with any store,
respects it, and it ends with the processes that hold it. Its folder may be one that all users write to, so what lies there
is opened without following links and never changed; who holds a lease stands in a file of its holder's own beside it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dapoctl.errors import StorageError, UserError
from dapoctl.runs.files import number_or_nan, read_json, storage_errors, write_json
from dapoctl.runs.jobs import gpus
from dapoctl.runs.jobs.gpus import Gpu, is_hiding, visible
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.ownership import user_name

SLOTS = "DAPOCTL_SLOTS"
FOLDER = "DAPOCTL_LEASES"
GIB = 2**30
VISIBLE = "CUDA_VISIBLE_DEVICES"
IN_USE = GIB
"""Bytes in use by programs that compute from which an unleased GPU counts as used by another program"""


@dataclass(frozen=True)
class Device:
    """A GPU, or a slot for one run on a machine without GPUs."""

    key: str
    """The GPU's UUID; slot-N"""
    label: str
    """GPU 0; slot 0"""
    name: str = ""
    total: int = 0
    """Bytes of memory; 0 for a slot, and for a GPU that does not say"""
    used: int = 0
    utilization: int | None = None
    """Percent"""
    temperature: int | None = None
    """Degrees Celsius"""
    processes: tuple[tuple[int, int], ...] = ()
    """Those that compute on it: (PID, bytes of GPU memory)"""
    set_aside: int = 0
    """Bytes of `used` that no program computes with"""
    is_gpu: bool = False


@dataclass(frozen=True)
class Lease:
    """A device that is being used by a run."""

    device: Device
    descriptor: int


def devices() -> list[Device]:
    """Every GPU of this machine; its slots, where it has none or CUDA_VISIBLE_DEVICES hides them all.

    Raises:
        UserError: DAPOCTL_SLOTS is not a count.
    """
    devices_here = [] if hides_gpus() else [_device(gpu) for gpu in gpus.read().gpus]
    return devices_here or [Device(f"slot-{index}", f"slot {index}") for index in range(slot_count())]


def hides_gpus() -> bool:
    """Whether this process was told to leave every GPU alone."""
    return VISIBLE in os.environ and is_hiding(os.environ[VISIBLE])


def slot_count() -> int:
    """How many runs a machine without GPUs works on at once: DAPOCTL_SLOTS, by default 1.

    Raises:
        UserError: it is not a positive number.
    """
    text = os.environ.get(SLOTS, "1")
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{SLOTS} = {text!r}: must be the number of runs that may work at once, 1 or more")
    return int(text)


def _device(gpu: Gpu) -> Device:
    return Device(
        key=gpu.uuid,
        label=gpu.label,
        name=gpu.name,
        total=gpu.total,
        used=gpu.total - gpu.free,
        utilization=gpu.utilization,
        temperature=gpu.temperature,
        processes=gpu.processes,
        set_aside=gpu.set_aside,
        is_gpu=True,
    )


def allowed_gpus(devices_here: Sequence[Device]) -> list[str] | None:
    """Keys of the GPUs that this process's CUDA_VISIBLE_DEVICES shows; None if it is not set, or there are no GPUs.

    A name that the driver does not list, such as a slice's by the place in its GPU, is its own key.
    """
    setting = os.environ.get(VISIBLE)
    if setting is None or not any(device.is_gpu for device in devices_here):
        return None
    here = gpus.read().gpus
    return [here[position].uuid for position in visible(setting, here)] or [setting.split(",")[0].strip()]


def lease(device: Device, run: str) -> Lease | None:
    """Lease a device for `run`; None if it is already leased.

    Raises:
        StorageError: the folder of leases cannot be used.
    """
    path = _lock_of(device)
    with storage_errors(path.parent):
        path.parent.mkdir(0o755, parents=True, exist_ok=True)
    descriptor = try_lock(path, shared=True, instead=f"{FOLDER}=DIR names a folder on a local disk")
    if descriptor is None:
        return None
    record = path.with_suffix(f".{os.getuid()}.json")
    with contextlib.suppress(StorageError):
        # Only for `holder`: the lock is the lease.
        write_json(record, {"run": run, "user": user_name(), "since": time.time()})
    return Lease(device, descriptor)


def give_back(leases: Sequence[Lease]) -> None:
    """Release the leases that this process holds."""
    release(*(held.descriptor for held in leases))


def holder(device: Device) -> str:
    """The run that leases the device; empty if none does. Where that cannot be found out, why not: somebody may."""
    try:
        path = _lock_of(device)
        os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
    except FileNotFoundError:
        return ""
    except StorageError as error:
        return f"someone unknown ({error})"
    except OSError as error:
        return f"someone unknown (`{path}` cannot be opened: {error.strerror})"
    if not is_locked(path):
        return ""
    # Of an earlier lease of each user a record may be left: the last one holds it.
    records = [_record(record) for record in path.parent.glob(f"{path.stem}.*.json")]
    return max(records, default=(0.0, ""))[1] or "another run"


def _record(path: Path) -> tuple[float, str]:
    found = read_json(path)
    values = found if isinstance(found, dict) else {}
    since = number_or_nan(values.get("since"))
    return (since, str(values.get("run", ""))) if 0 < since <= time.time() else (0.0, "")


def foreign(device: Device) -> str:
    """Who uses a GPU without a lease, as text; empty if it is free."""
    taken = device.used - device.set_aside
    if not device.is_gpu or taken < IN_USE:
        return ""
    by = ", ".join(f"PID {pid}" for pid, _ in device.processes[:3]) or "another process"
    return f"{taken / GIB:.1f} GiB in use by {by}"


def lease_folder() -> Path:
    """Where this machine's leases are: DAPOCTL_LEASES, or a folder that all its users share.

    Raises:
        StorageError: it is another user's, who could take leases away.
    """
    setting = os.environ.get(FOLDER)
    shared = Path("/run/lock")
    folder = Path(setting or (shared if os.access(shared, os.W_OK) else tempfile.gettempdir()))
    with contextlib.suppress(FileNotFoundError):
        _check_owner(folder)
    return folder


def _check_owner(folder: Path) -> None:
    instead = f"{FOLDER}=DIR names another folder for leases"
    try:
        found = folder.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"`{folder}` cannot be used for leases: {error.strerror}; {instead}") from error
    if found.st_uid not in (0, os.geteuid()):
        owner = user_name(found.st_uid)
        raise StorageError(
            f"leases of GPUs cannot be kept in `{folder}`: it belongs to {owner}, who could take them away; {instead}"
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise StorageError(
            f"leases of GPUs cannot be kept in `{folder}`: every user can delete them there; chmod +t {folder}, or {instead}"
        )


def _lock_of(device: Device) -> Path:
    return lease_folder() / f"dapoctl-{device.key.replace('/', '_')}.lock"
