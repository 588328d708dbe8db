"""What the runs of a plan would take on a GPU: the doctor's report of each arm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dapoctl.doctor.gpus import KnownGpu
from dapoctl.doctor.report import Report, examine
from dapoctl.doctor.source import Model
from dapoctl.study.plan import Plan


@dataclass(frozen=True)
class Estimated:
    """An arm on a GPU."""

    arm: str
    runs: int
    report: Report

    @property
    def hours(self) -> float:
        """Of all its runs, one after the other; not-a-number if the model's shape is not known."""
        return self.runs * self.report.hours.total if self.report.hours is not None else float("nan")

    @property
    def tight(self) -> bool:
        """Whether it fits with little room."""
        return any(check.name == "fits" and check.status == "warn" for check in self.report.run)

    @property
    def problem(self) -> str:
        """Why a run would fail there; packages of this machine do not count."""
        return "; ".join(f"{check.name}: {check.text}" for check in self.report.run if check.status == "fail")


def estimate(plan: Plan, runs: Path, gpu: KnownGpu) -> Iterator[Estimated]:
    """Every arm, in the plan's order. Models must be on this machine, at least their configuration."""
    models: dict[str, Model] = {}
    for arm, resolved in plan.resolved.items():
        path = resolved.config.model.path
        report = examine(resolved.config, resolved.pipeline, runs, gpu_known=gpu, known_model=models.get(path))
        models[path] = report.model
        yield Estimated(arm, len(plan.seeds(arm)), report)
