"""The queue as it lies on disk: tickets and the queue's state, for reading."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dapoctl.errors import StorageError
from dapoctl.runs.files import read_json

FOLDER = ".queue"
STATE = "state.json"


@dataclass(frozen=True)
class Ticket:
    """A run that waits for its turn."""

    run: str
    """The run's id"""
    attempt: int
    """The attempt that it will be"""
    priority: int = 0
    """Higher ones first"""
    need: int = 1
    """GPUs, or slots on a machine without GPUs"""
    only: tuple[str, ...] = ()
    """Keys of the devices that it may have; empty for all"""
    order: float = 0.0
    """Among equal priorities, smaller ones first; by default the time it was queued"""
    queued: float = 0.0
    """Seconds since the epoch"""
    held: bool = False

    @property
    def place(self) -> tuple[int, float, str]:
        """What tickets are sorted by."""
        return -self.priority, self.order, self.run

    @classmethod
    def read(cls, values: Any) -> Self | None:
        """From a ticket's file; None when that is none."""
        try:
            found = cls(
                run=str(values["run"]),
                attempt=int(values["attempt"]),
                priority=int(values["priority"]),
                need=max(1, int(values["need"])),
                only=tuple(str(key) for key in values["only"]),
                order=float(values["order"]),
                queued=float(values["queued"]),
                held=bool(values["held"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return found if math.isfinite(found.order) and math.isfinite(found.queued) else None


@dataclass(frozen=True)
class State:
    """Whether the queue as a whole waits, and why."""

    held: bool = False
    why: str = ""
    boots: dict[str, str] = field(default_factory=dict)
    """By host, the boot in which it last looked at the queue"""


def tickets(root: Path) -> list[Ticket]:
    """Every ticket, the next one first."""
    try:
        names = sorted(name for name in os.listdir(root / FOLDER) if name.endswith(".json") and name != STATE)  # noqa: PTH208
    except OSError:
        return []
    found = {name: Ticket.read(read_json(root / FOLDER / name)) for name in names}
    # The file's name is the run's id: a ticket that says another one could lead anywhere.
    known = [ticket for name, ticket in found.items() if ticket is not None and name == f"{ticket.run}.json"]
    return sorted(known, key=lambda ticket: ticket.place)


def find_ticket(root: Path, run: str) -> Ticket | None:
    """The ticket of a run; None when it does not wait."""
    return Ticket.read(read_json(ticket_file(root, run)))


def state(root: Path) -> State:
    """How the queue stands."""
    found = read_json(root / FOLDER / STATE)
    if not isinstance(found, dict):
        return State()
    boots = found.get("boots")
    return State(bool(found.get("held")), str(found.get("why", "")), boots if isinstance(boots, dict) else {})


def ticket_file(root: Path, run: str) -> Path:
    if "/" in run or run.startswith("."):
        raise StorageError(f"`{run}` is no run's id")
    return root / FOLDER / f"{run}.json"
