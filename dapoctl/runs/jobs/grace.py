"""How long a run that is told to stop may take for its checkpoint."""

from __future__ import annotations

from pathlib import Path

from dapoctl.runs.attempts import GRACE
from dapoctl.runs.checkpoints import latest
from dapoctl.runs.remove import size_of

SLOW = 100e6
"""Bytes a second of a disk that is slow: checkpoints of a model of 4 billion weights, 48 GB, take eight minutes on it"""


def grace_for(directory: Path) -> float:
    """Seconds that are enough for a checkpoint as large as the run's last one, and for the work that it waits for."""
    last = latest(directory)
    return GRACE + (size_of(last) / SLOW if last is not None else 0.0)
