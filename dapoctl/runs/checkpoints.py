"""Which checkpoints a run has; nothing here loads one."""

from __future__ import annotations

import contextlib
from pathlib import Path

LATEST = "latest"
STATE = "state.pt"


def latest(directory: Path) -> Path | None:
    """The newest whole checkpoint; None when there is none."""
    root = directory / "checkpoints"
    with contextlib.suppress(OSError):
        named = root / (root / LATEST).read_text().strip()
        if (named / STATE).is_file():
            return named
    found = checkpoints(directory)
    return found[max(found)] if found else None


def checkpoints(directory: Path) -> dict[int, Path]:
    """Every whole checkpoint by its step."""
    found = {step_of(path): path for path in directory.glob("checkpoints/step_*") if (path / STATE).is_file()}
    return dict(sorted(found.items()))


def step_of(path: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(path.name.removeprefix("step_"))
