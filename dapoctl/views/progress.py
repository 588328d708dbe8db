"""What is known of a run while it trains; no terminal here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dapoctl.views.metrics import is_held_out, metric, title

PHASES = {
    "start": "starting",
    "load": "loading the model",
    "generate": "sampling responses",
    "score": "scoring",
    "update": "updating the weights",
    "eval": "evaluating on held-out problems",
    "checkpoint": "saving a checkpoint",
    "profile": "writing the profile",
    "stop": "stopping: a checkpoint is saved first, Ctrl-C again quits at once",
}


@dataclass
class Progress:
    """A run's course so far."""

    title: str
    """The run's id, once it has one; else what is trained"""
    steps: int
    clock: Callable[[], float] = time.monotonic
    components: str = ""
    step: int = 0
    phase: str = "start"
    phase_count: str = ""
    phase_since: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the last step"""
    courses: dict[str, list[float]] = field(default_factory=dict)
    """Every value so far of what is drawn as a sparkline"""
    _begun: tuple[int, float] | None = None
    _ended: float = 0.0

    def __post_init__(self) -> None:
        self.phase_since = self.clock()

    def enter(self, phase: str, done: int = 0, total: int = 0) -> bool:
        """Note what goes on inside a step; whether that is something new."""
        new = phase != self.phase
        if new:
            self.phase, self.phase_since = phase, self.clock()
        if total > 1 and done:
            self.phase_count = f"{done}/{total}"
        else:
            self.phase_count = f"round {done + 1}" if done else ""
        return new

    def begin(self, step: int) -> None:
        """Training goes on after `step` steps: the time left is counted from here."""
        self.step, self._begun = step, (step, self.clock())

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take over the metrics of a step; those of step 0 are the evaluation before training."""
        self.step = step
        for name, value in metrics.items():
            if metric(name).course:
                self.courses.setdefault(name, []).append(float(value))
        if step:
            self.metrics = {name: float(value) for name, value in metrics.items()}

    def advance(self, step: int, metrics: Mapping[str, float]) -> None:
        """`record` a step that was done just now."""
        self.record(step, metrics)
        self._ended = self.clock()
        if step == 0 or self._begun is None:
            self.begin(step)

    @property
    def phase_text(self) -> str:
        """What goes on, in words."""
        text = PHASES.get(self.phase, self.phase)
        return f"{text}, {self.phase_count}" if self.phase_count else text

    @property
    def in_phase(self) -> float:
        """Seconds since the phase began."""
        return self.clock() - self.phase_since

    def seconds_per_step(self) -> float | None:
        """Mean over the steps of this attempt, evaluations included; None before the first."""
        if self._begun is None or self.step <= self._begun[0]:
            return None
        return (self._ended - self._begun[1]) / (self.step - self._begun[0])

    def seconds_left(self) -> float | None:
        """Time to the last step at this pace; None before there is a pace."""
        pace = self.seconds_per_step()
        if pace is None:
            return None
        return max(0.0, pace * (self.steps - self.step) - (self.clock() - self._ended))

    def held_out(self) -> dict[str, list[float]]:
        """The course of each held-out accuracy, by `set avg@k`."""
        return {title(name): values for name, values in self.courses.items() if is_held_out(name)}
