"""Idea: something that watches a run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from dapoctl import Component, RunInfo, hookimpl
from pydantic import PrivateAttr


class Idea(Component):
    """Keep the highest value of `metric` so far, and its step, in a JSON file with the component's name in the run's folder."""

    metric: str = "reward/mean"
    """A name in the run's `metrics.jsonl`."""

    _file: Path | None = PrivateAttr(default=None)
    _best: dict[str, Any] = PrivateAttr(default_factory=dict)

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        self._file = run.directory / f"{self.name}.json"

    @hookimpl
    def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
        value = metrics.get(self.metric, math.nan)
        if value > self._best.get("value", -math.inf):
            self._best = {"metric": self.metric, "value": value, "step": step}
            self._write(self._best)

    @hookimpl
    def on_run_end(self, state: str) -> None:
        self._write({**self._best, "state": state})

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def state_dict(self) -> dict[str, Any]:
        return dict(self._best)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best = dict(state)
