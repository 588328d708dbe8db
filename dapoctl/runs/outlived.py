"""Processes of a run that are still there when nobody answers for it any more: its trainer and its supervisor were killed, and
an engine of theirs still has the GPU."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dapoctl.runs.processes import POLL, Identity, family
from dapoctl.runs.state import has_writer, processes_of


def outlived(directory: Path, patience: float = 0.0) -> list[int]:
    """PIDs of the last attempt's processes, if neither its trainer nor its supervisor is there; else none.

    Args:
        patience: seconds that they get to end by themselves
    """
    mark, recorded = processes_of(directory)
    roots = [identity for values in recorded if (identity := Identity.read(values)) is not None]
    if not mark or not roots or not roots[0].here() or has_writer(directory):
        return []
    # Where a run was trained in a notebook, what the notebook started otherwise is not the run's: only its mark tells.
    others = [root for root in roots if root.pid != os.getpid()]
    deadline = time.monotonic() + patience
    while members := family(mark, others):
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL)
    return sorted(process.pid for process in members)


def outlived_words(pids: list[int]) -> str:
    """`2 processes of it still run (PID 4711, 4712)`; nothing without any."""
    if not pids:
        return ""
    count = "1 process of it still runs" if len(pids) == 1 else f"{len(pids)} processes of it still run"
    shown = ", ".join(map(str, pids[:5])) + (", ..." if len(pids) > 5 else "")
    return f"{count} (PID {shown})"
