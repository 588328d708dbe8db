"""The settings of a comparison, the same for both sides, passed to each process as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dapoctl.config.resolve import Resolved


@dataclass(frozen=True)
class Settings:
    """One model, one recording, one way to train."""

    model: str
    """A name or a folder, as in `dapoctl run --set model=`"""
    record: str
    """The file of recorded responses"""
    data: str = ""
    """Problems for the task `math`; empty for the task `arithmetic`"""
    prompts: int = 4
    samples: int = 8
    tokens: int = 96
    """Response tokens at most"""
    temperature: float = 1.0
    seed: int = 0
    engine: str = "hf"
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    dtype: str = "float32"
    """Compute type; weights are float32 on both sides, bfloat16 computes through autocast"""
    device: str = "auto"
    updates: int = 2
    """Timed updates or steps of a process, after a warm-up one"""
    lr: float = 1e-6
    grad_clip: float = 1.0
    trl_batch: int = 8
    """TRL's `per_device_train_batch_size`"""
    overrides: tuple[str, ...] = ()
    """dapoctl's `--set`, for settings that the two sides need not share"""
    plugins: tuple[str, ...] = ("token_mean",)

    @property
    def responses(self) -> int:
        """Responses of an update."""
        return self.prompts * self.samples

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Settings:
        """The inverse of `write`."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**(values | {name: tuple(values[name]) for name in ("overrides", "plugins")}))


def resolve(settings: Settings) -> Resolved:
    """dapoctl's run: the loss that TRL calls `dapo`, advantages with TRL's epsilon, one update a step.

    Raises:
        UserError: dapoctl does not accept a setting.
    """
    from dapoctl.config.resolve import load

    task = ["task=math", f"math.data={settings.data}"] if settings.data else ["task=arithmetic"]
    overrides = [
        *task,
        f"model.path={settings.model}",
        f"model.dtype={settings.dtype}",
        f"engine={settings.engine}",
        f"seed={settings.seed}",
        f"rollout.prompts={settings.prompts}",
        f"rollout.samples={settings.samples}",
        f"rollout.max_response_tokens={settings.tokens}",
        f"rollout.temperature={settings.temperature}",
        "rollout.top_p=1.0",
        f"optim.lr={settings.lr}",
        "optim.warmup_steps=0",
        "optim.weight_decay=0.0",
        "optim.beta1=0.9",
        "optim.beta2=0.999",
        f"optim.grad_clip={settings.grad_clip}",
        f"train.device={settings.device}",
        f"train.threads={settings.threads}",
        "grpo.eps=1e-4",
        "clip.eps=0.2",
        *settings.overrides,
    ]
    return load([], overrides, {"plugins": list(settings.plugins)})
