"""A run's metrics as they stand on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dapoctl.runs.files import read_lines

UNSTABLE = ("time/", "throughput/", "memory/")


def stable_metrics(directory: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without what depends on the clock and the machine."""
    rows = []
    for row in read_lines(directory / "metrics.jsonl"):
        if "metrics" in row:
            values = {name: value for name, value in row["metrics"].items() if not name.startswith(UNSTABLE)}
            rows.append({"step": row["step"], "metrics": values})
    return rows
