"""The observer that writes a run's metrics for TensorBoard.

It is not a `Tracker`: its files are in the run's folder, so an error in writing them is the run's error.
"""

from __future__ import annotations

import math
from typing import Any

import tomli_w
from pydantic import PrivateAttr

from dapoctl import Component, RunInfo, hookimpl


class Tensorboard(Component):
    """Write every metric to the run's `tensorboard/` folder; part of every run unless left out with `-tensorboard`.

    `tensorboard --logdir RUNS` shows the runs of a store side by side, each with its configuration under Text.
    """

    _writer: Any = PrivateAttr(default=None)

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Steps that an earlier attempt wrote after its checkpoint are superseded.
        self._writer = SummaryWriter(str(run.directory / "tensorboard"), purge_step=run.start_step + 1)
        if run.start_step == 0:
            self._writer.add_text("config", f"```toml\n{tomli_w.dumps(dict(run.config))}```", 0)

    @hookimpl
    def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            # TensorBoard draws no point for a value that is not finite; `metrics.jsonl` has it.
            if self._writer is not None and math.isfinite(value):
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
