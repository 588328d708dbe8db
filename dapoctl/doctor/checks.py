"""One checked item and its status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "warn", "fail"]
"""note: nothing is wrong, but something is missing; warn: a run works, but not well; fail: it will not work"""


@dataclass(frozen=True, slots=True)
class Check:
    """One checked item."""

    name: str
    status: Status
    text: str
    fix: str = ""
    """What to type or change; empty when there is nothing to do"""


def failed(checks: list[Check]) -> bool:
    """Whether any of `checks` says that a run will not work."""
    return any(check.status == "fail" for check in checks)
