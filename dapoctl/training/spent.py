"""What a run's training has cost so far, and whether that is as much as it may: `stop_at`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from dapoctl.config import RunConfig
from dapoctl.evaluation.compare.cost import step_cost

HOUR = 3600.0


class Spent:
    """Generated tokens and hours of training steps, up to a step."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], step: int) -> None:
        """`rows` of `metrics.jsonl`, of which those up to `step` count, each step once."""
        self._costs: dict[int, tuple[float, float]] = {}
        for row in rows:
            if 1 <= row["step"] <= step:
                self._costs[row["step"]] = step_cost(row["metrics"])

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Count a step, once."""
        self._costs[step] = step_cost(metrics)

    @property
    def hours(self) -> float:
        """Of training steps, without evaluations and checkpoints."""
        return math.fsum(seconds for seconds, _ in self._costs.values() if math.isfinite(seconds)) / HOUR

    @property
    def generated_tokens(self) -> int:
        """Sampled for training."""
        return round(math.fsum(tokens for _, tokens in self._costs.values() if math.isfinite(tokens)))

    def enough(self, config: RunConfig) -> str:
        """Why the run ends now; empty if it goes on."""
        limits = config.stop_at
        if limits.generated_tokens is not None and self.generated_tokens >= limits.generated_tokens:
            return f"`stop_at.generated_tokens` = {limits.generated_tokens}: it has sampled {self.generated_tokens:,}"
        if limits.hours is not None and self.hours >= limits.hours:
            return f"`stop_at.hours` = {limits.hours:g}: it has trained for {self.hours:.3g}"
        return ""
