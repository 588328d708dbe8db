"""What an evaluated model cost: device hours and generated tokens, of its training and of its evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dapoctl.runs.attempts import PROCESS, attempts
from dapoctl.runs.files import read_json
from dapoctl.runs.summary import metric_rows

if TYPE_CHECKING:
    from dapoctl.evaluation.stored import Evaluation

TIMES = "time/"
RATE, SAMPLING = "throughput/generated_tokens_per_s", "time/generate"


@dataclass(frozen=True)
class Cost:
    """Not-a-number for what is not recorded."""

    train_hours: float
    """Device hours of the steps up to the evaluated one, without evaluations and checkpoints"""
    train_tokens: float
    """Generated for training"""
    eval_hours: float
    eval_tokens: float
    gpu: bool | None
    """Whether the devices are GPUs; None if not recorded"""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def cost_of(evaluation: Evaluation) -> Cost:
    """The cost up to and including this evaluation."""
    count, gpu = _devices(evaluation)
    hours, tokens = _training(evaluation, count)
    seconds, generated = (_number(evaluation.summary.get(key)) for key in ("seconds", "generated_tokens"))
    if not math.isfinite(generated):
        generated = sum(float(row["tokens"]) for row in evaluation.rows) if evaluation.rows else math.nan
    named = evaluation.summary.get("devices")
    own = len(named) if isinstance(named, list) and named else 1
    return Cost(hours, tokens, seconds * own / 3600, generated, gpu)


def step_cost(metrics: Mapping[str, float]) -> tuple[float, float]:
    """(seconds, generated tokens) of a training step with these metrics; not-a-number for what they do not tell."""
    seconds = sum(value for name, value in metrics.items() if name.startswith(TIMES))
    return seconds, metrics.get(RATE, math.nan) * metrics.get(SAMPLING, math.nan)


def _training(evaluation: Evaluation, devices: int) -> tuple[float, float]:
    """(device hours, generated tokens) up to the evaluated step; 0 for an untrained model."""
    if evaluation.step == 0:
        return 0.0, 0.0
    seconds = tokens = 0.0
    steps: set[int] = set()
    for row in metric_rows(evaluation.run.directory):
        metrics = row["metrics"]
        if not 1 <= row["step"] <= evaluation.step or row["step"] in steps:
            continue
        steps.add(row["step"])
        taken, generated = step_cost(metrics)
        seconds, tokens = seconds + taken, tokens + generated
    if len(steps) < evaluation.step:
        return math.nan, math.nan
    return seconds * devices / 3600, tokens


def _devices(evaluation: Evaluation) -> tuple[int, bool | None]:
    """(largest number of devices of the run's attempts, whether they are GPUs)."""
    count, gpu = 1, None
    for folder in attempts(evaluation.run.directory):
        process = read_json(folder / PROCESS)
        listed = process.get("devices") if isinstance(process, dict) else None
        if isinstance(listed, list) and listed:
            count = max(count, len(listed))
            gpu = any(isinstance(device, dict) and device.get("gpu") is True for device in listed)
    named = evaluation.summary.get("devices")
    if gpu is None and isinstance(named, list) and named:
        gpu = not all(str(device).lower().startswith(("cpu", "slot")) for device in named)
    return count, gpu


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
