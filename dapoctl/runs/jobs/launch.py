"""Starting a run's supervisor: with which Python, in which folder, in which environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dapoctl.errors import StorageError
from dapoctl.runs.attempts import EXIT, LOG, attempt_folder
from dapoctl.runs.files import SCHEMA, read_json, storage_errors, write_json
from dapoctl.runs.jobs.leases import Lease
from dapoctl.runs.processes import MARK, MODULE, SUPERVISOR, run_starter
from dapoctl.runs.secrets import is_secret
from dapoctl.runs.summary import LAUNCH

KEPT = (
    "CONDA_", "CUBLAS_", "CUDA_", "DAPOCTL_", "HF_", "KMP_", "LD_", "MALLOC_", "MKL_", "NCCL_", "OMP_", "OPENBLAS_", "PYTHON",
    "PYTORCH_", "TOKENIZERS_", "TORCH", "TRACKIO_", "TRANSFORMERS_", "VIRTUAL_ENV", "VLLM_", "WANDB_", "XDG_",
)  # fmt: skip
"""Prefixes of the environment variables that a run is always started with"""
KEPT_WHOLE = ("PATH", "HOME", "USER", "LANG", "TMPDIR")
OF_THE_ATTEMPT = (MARK, "CUDA_VISIBLE_DEVICES")
READY_WITHIN = 120.0
"""Seconds that a supervisor may take to report that it runs"""


class LaunchError(StorageError):
    """A run could not be started in the background."""


def remember_launch(directory: Path) -> None:
    """Record how to work on this run as if from here: Python, folder, environment; of secrets only the names.

    Raises:
        StorageError: the run's folder cannot be written.
    """
    values = {"schema": SCHEMA, "python": sys.executable, "cwd": str(Path.cwd()), "env": kept(os.environ)}
    values["left_out"] = sorted(name for name, value in os.environ.items() if _matters(name) and is_secret(name, value))
    write_json(directory / LAUNCH, values, mode=0o600)


def kept(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that matter to a run and may be written down."""
    return {name: value for name, value in environment.items() if _matters(name) and not is_secret(name, value)}


def _matters(name: str) -> bool:
    return (name in KEPT_WHOLE or name.startswith(KEPT)) and name not in OF_THE_ATTEMPT


def read_launch(directory: Path) -> dict[str, Any]:
    """What `remember_launch` recorded; this process's own values for what is missing."""
    recorded = read_json(directory / LAUNCH)
    values = recorded if isinstance(recorded, dict) else {}
    return {
        "python": str(values.get("python", sys.executable)),
        "cwd": str(values.get("cwd", Path.cwd())),
        "env": {str(name): str(value) for name, value in dict(values.get("env", kept(os.environ))).items()},
        "left_out": [str(name) for name in values.get("left_out", ())],
    }


def launch(directory: Path, number: int, leases: Sequence[Lease], lock: int) -> None:
    """Start the supervisor of a run's attempt and wait until it has taken over the lock and the leases.

    Raises:
        LaunchError: it did not start; it then holds no lock or lease, and the attempt is recorded as failed.
    """
    try:
        _launch(directory, number, leases, lock)
    except LaunchError as failure:
        error = f"it could not be started: {failure}"
        values = {"schema": SCHEMA, "state": "failed", "error": error, "time": time.time()}
        write_json(attempt_folder(directory, number) / EXIT, values)
        raise LaunchError(f"run `{directory.name}` could not be started: {failure}") from failure


def _launch(directory: Path, number: int, leases: Sequence[Lease], lock: int) -> None:
    settings = read_launch(directory)
    if not Path(settings["cwd"]).is_dir():
        raise LaunchError(
            f"the folder it was started in, `{settings['cwd']}`, is gone; its data files may be relative to it"
        )
    _tell_what_is_missing(attempt_folder(directory, number), settings["left_out"])
    devices = [{"key": lease.device.key, "label": lease.device.label, "gpu": lease.device.is_gpu} for lease in leases]
    command = [settings["python"], *MODULE, "dapoctl.runs.jobs.supervisor", str(directory.resolve()), str(number)]
    command += [f"--lock={lock}", f"--leases={json.dumps([lease.descriptor for lease in leases])}"]
    command += [f"--devices={json.dumps(devices)}"]
    other_variables = {
        name: value for name, value in os.environ.items() if name not in kept(os.environ) and name != MARK
    }
    failure = run_starter(
        command,
        READY_WITHIN,
        cwd=settings["cwd"],
        env={**other_variables, **settings["env"], MARK: SUPERVISOR},
        pass_fds=[lock, *(lease.descriptor for lease in leases)],
        stdout=subprocess.PIPE,
    )
    if failure:
        raise LaunchError(f"its supervisor did not start with `{settings['python']}`: {failure}")


def _tell_what_is_missing(folder: Path, left_out: Sequence[str]) -> None:
    """Note in the attempt's log which secrets the run's user had and who starts it has not."""
    missing = [name for name in left_out if name not in os.environ]
    if missing:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / LOG).open("a", encoding="utf-8") as log:
                log.write(
                    f"warning: {', '.join(missing)} was set where this run was created, and is not where this attempt was"
                    " started; secrets are in no record\n"
                )
