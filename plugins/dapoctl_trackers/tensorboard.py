"""The observer that writes a run's metrics for TensorBoard.

Its errors never end a run: the first is warned of, and no more is written. `metrics.jsonl` has everything anyway.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import tomli_w
from pydantic import PrivateAttr

from dapoctl import Component, RunInfo, RunWarning, hookimpl


class Tensorboard(Component):
    """Write every metric to the run's `tensorboard/` folder; part of every run unless left out with `-tensorboard`.

    `tensorboard --logdir RUNS` shows the runs of a store side by side, each with its configuration under Text.
    """

    _writer: Any = PrivateAttr(default=None)

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        self._attempt(lambda: self._open(run))

    @hookimpl
    def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
        self._attempt(lambda: self._add(step, metrics))

    def close(self) -> None:
        """Flush and close the event file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._attempt(writer.close)

    def _open(self, run: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Steps that an earlier attempt wrote after its checkpoint are superseded.
        self._writer = SummaryWriter(str(run.directory / "tensorboard"), purge_step=run.start_step + 1)
        if run.start_step == 0:
            self._writer.add_text("config", f"```toml\n{tomli_w.dumps(dict(run.config))}```", 0)

    def _add(self, step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            # TensorBoard draws no point for a value that is not finite; `metrics.jsonl` has it.
            if self._writer is not None and math.isfinite(value):
                self._writer.add_scalar(name, value, step)

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do `work`; an error in it, which may be one of the writer's thread, is the end of writing."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 (the writer raises the errors of several libraries)
            self._writer = None
            warnings.warn(
                f"`{self.name}` cannot write its files ({type(error).__name__}: {error}); the run continues without it",
                RunWarning,
                stacklevel=2,
            )
