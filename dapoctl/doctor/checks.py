"""One line of what was looked at, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "warn", "fail"]
"""note: nothing is wrong, something is absent; warn: a run works, though not well; fail: it will not work"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    text: str
    fix: str = ""
    """What to type or change; empty when there is nothing to do"""


def failed(checks: list[Check]) -> bool:
    """Whether any of `checks` says that a run will not work."""
    return any(check.status == "fail" for check in checks)
