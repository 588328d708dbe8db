"""What all trackers share: a tracker follows a run, and its own errors never end that run.

Hours of training are worth more than a dashboard: a tracker that fails warns once, and is not called again after a few
failures in a row. `metrics.jsonl` has everything anyway.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PrivateAttr

from dapoctl import Component, RunInfo, RunWarning, UserError, hookimpl

if TYPE_CHECKING:
    from dapoctl.config import RunConfig

PATIENCE = 3
"""Failures in a row after which no more is sent"""


class Tracker(Component):
    """A run in a tracker: one per run, continued when the run is resumed."""

    library: ClassVar[str]
    """The package that is needed, which is also the name of dapoctl's extra"""

    project: str = Field("dapoctl", min_length=1)
    """Project that the run is shown in."""
    run_name: str | None = None
    """Name that the run is shown under; by default its id, which no other run has."""

    _running: bool = PrivateAttr(default=False)
    _failures: int = PrivateAttr(default=0)
    _warned: bool = PrivateAttr(default=False)

    @abstractmethod
    def begin(self, run: RunInfo) -> None:
        """Open the run in the tracker, or continue it."""

    @abstractmethod
    def send(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a step's metrics."""

    @abstractmethod
    def finish(self, state: str) -> None:
        """Send what is left, in about a minute at most; the run ended in `state`."""

    def check_run(self, config: RunConfig) -> None:  # noqa: ARG002 (as every component's)
        """Refuse a run that could not be tracked before anything is loaded."""
        spec = importlib.util.find_spec(self.library)
        # A folder of that name, such as the ones that trackers make, is found without an origin.
        if spec is None or spec.origin is None:
            raise UserError(
                f"`{self.name}` needs the package `{self.library}`: `pip install {self.library}` (or"
                f" `pip install 'dapoctl[{self.library}]'`); or leave it out of --plugins"
            )

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        self._running = self._attempt("could not be started", lambda: self.begin(run))

    @hookimpl
    def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
        if not self._running:
            return
        done = self._attempt(f"did not take step {step}", lambda: self.send(step, metrics))
        self._failures = 0 if done else self._failures + 1
        if self._failures == PATIENCE:
            self._running = False
            self._warn(f"failed {PATIENCE} times in a row: no more is sent after step {step}")

    @hookimpl
    def on_run_end(self, state: str) -> None:
        self._finish(state)

    def close(self) -> None:
        """Finish a run whose end was not reported."""
        self._finish("failed")

    def _finish(self, state: str) -> None:
        if not self._running:
            return
        self._running = False
        self._attempt("could not be finished", lambda: self.finish(state))

    def _attempt(self, what: str, work: Callable[[], None]) -> bool:
        """Do `work` without output on the terminal; whether it succeeded. Warn of the first failure."""
        try:
            # Trackers print to stdout, where a run's display is.
            with contextlib.redirect_stdout(io.StringIO()):
                work()
        except Exception as error:  # noqa: BLE001 (a tracker's library may raise anything)
            if not self._warned:
                self._warned = True
                self._warn(f"{what}: {type(error).__name__}: {error}")
            return False
        return True

    def _warn(self, text: str) -> None:
        warnings.warn(f"`{self.name}` {text}; the run continues without it", RunWarning, stacklevel=2)
