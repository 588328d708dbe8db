"""One measurement in a new process, so that peak memory is that of the measurement alone.

python -m experiments.bench.child WORK SETTINGS.json RESULT.json
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.bench.settings import Settings

ROOT = Path(__file__).parents[2]


class BenchError(Exception):
    """A measurement could not be made; the message says why."""


def run_child(work: str, settings: Settings, **paths: Path) -> dict[str, Any]:
    """The result of `work` ("trl/update", "dapoctl/step", ...) in a new process with the threads that `settings` name.

    Raises:
        BenchError: the process failed; the message has the end of its output.
    """
    threads = {"OMP_NUM_THREADS": str(settings.threads), "MKL_NUM_THREADS": str(settings.threads)}
    environment = {**os.environ, **threads, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with tempfile.TemporaryDirectory(prefix="dapoctl-bench-") as folder:
        given, written = Path(folder, "settings.json"), Path(folder, "result.json")
        settings.write(given)
        extra = [f"{name}={path}" for name, path in paths.items()]
        command = [sys.executable, "-m", "experiments.bench.child", work, str(given), str(written), *extra]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{work} failed:\n{(done.stderr or done.stdout).strip()[-3000:]}")
        result: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
        return result


def perform(work: str, settings: Settings, paths: dict[str, Path]) -> dict[str, Any]:
    """Do `work` in this process."""
    import torch

    from experiments.bench import ours
    from experiments.bench.measuring import gemm_rate
    from experiments.bench.recorded import Recording

    torch.set_num_threads(settings.threads)
    if work == "record":
        ours.record(settings).write(Path(settings.record))
        return {}
    if work == "gemm":
        dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
        return {"flops": gemm_rate(ours.device_of(settings), dtype)}
    if work == "dapoctl/scaling":
        from experiments.bench.scaling import measure_size

        return measure_size(settings)
    recording = Recording.read(Path(settings.record))
    side, what = work.split("/")
    if side == "dapoctl":
        if what == "gradient":
            return ours.write_gradient(settings, recording, paths["gradient"])
        return (ours.time_updates if what == "update" else ours.time_steps)(settings, recording)
    from experiments.bench import trl_side

    if what == "gradient":
        return trl_side.write_gradient(settings, recording, paths["gradient"])
    return trl_side.measure(settings, recording, replay=what == "update")


def main() -> None:
    """Read settings, work, write the result."""
    from dapoctl import UserError

    work, given, output, *extra = sys.argv[1:]
    paths = {name: Path(value) for name, _, value in (pair.partition("=") for pair in extra)}
    settings = Settings.read(Path(given))
    try:
        result = perform(work, settings, paths)
    except UserError as error:
        raise SystemExit(str(error)) from None
    result["settings"] = dataclasses.asdict(settings)
    Path(output).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
