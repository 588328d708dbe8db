"""What screens ask of the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual.message import Message


class ReadStore(Message):
    """Something was changed in the store: read it again now."""


class OpenRun(Message):
    """Show one run, at one of its tabs."""

    def __init__(self, run: str, tab: str = "charts") -> None:
        super().__init__()
        self.run, self.tab = run, tab


class LaunchFrom(Message):
    """Show the launch form, filled in as in a run."""

    def __init__(self, run: str | None, changes: Mapping[str, Any] | None = None) -> None:
        """
        Args:
            run: its id; None for the defaults
            changes: value by dotted key, on top
        """
        super().__init__()
        self.run, self.changes = run, dict(changes or {})


class CompareRuns(Message):
    """Compare runs."""

    def __init__(self, runs: Sequence[str], set_: str | None = None) -> None:
        """
        Args:
            runs: RUN or RUN@STEP, the baseline first
            set_: the evaluation set; None for the one that most of them have
        """
        super().__init__()
        self.runs, self.set = list(runs), set_
