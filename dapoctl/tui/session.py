"""What all screens share: the store as it was last read, and what the user has marked in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dapoctl.runs.history import Courses
from dapoctl.runs.jobs.watch import Snapshot, StoreWatch


class Session:
    """One use of the terminal UI on one run store."""

    def __init__(self, root: Path, readonly: bool = False, places: Mapping[str, str] | None = None) -> None:
        """
        Args:
            root: the run store
            readonly: nothing is started, stopped or written
            places: title by mode of the screens that digits lead to, in order
        """
        self.root = root
        self.readonly = readonly
        self.places = dict(places or {})
        self.store = StoreWatch(root, readonly)
        self.courses = Courses()
        """Metrics of the runs that were shown"""
        self.marked: list[str] = []
        """Ids of the runs that were marked to be compared, in that order"""
        self.baseline: str | None = None
        """Id of the run that others are compared with"""

    @property
    def snapshot(self) -> Snapshot:
        """What the store held when it was last read."""
        return self.store.snapshot
