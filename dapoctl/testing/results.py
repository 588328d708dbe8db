"""Results of a check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dapoctl.errors import DapoctlError

Status = Literal["ok", "failed", "not applicable", "not run"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One way in which a property is broken."""

    hook: str
    """Empty if it is about the component as a whole"""
    case: str
    """The smallest input that shows it"""
    found: str
    fix: str

    def lines(self) -> list[str]:
        """As text, one line per part."""
        where = [("hook", self.hook)] if self.hook else []
        return [
            f"{key:<7}{text}" for key, text in [*where, ("case", self.case), ("found", self.found), ("fix", self.fix)]
        ]


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one property."""

    name: str
    """The property's name"""
    meaning: str
    status: Status
    failures: tuple[Failure, ...] = ()
    note: str = ""
    """Why it was not checked, or further information"""
    seconds: float = 0.0


class ConformanceError(DapoctlError, AssertionError):
    """A component breaks properties that a training step relies on; the message lists them."""

    def __init__(self, component: str, results: Iterable[Result]) -> None:
        results = list(results)
        self.component = component
        self.failed = tuple(result for result in results if result.status == "failed")
        """The broken properties"""
        checked = sum(result.status in ("ok", "failed") for result in results)
        super().__init__(
            "\n".join([f"`{component}` breaks {len(self.failed)} of {checked} properties", *self._lines()])
        )

    def _lines(self) -> list[str]:
        lines = []
        for result in self.failed:
            lines += ["", f"{result.name}: {result.meaning}"]
            lines += [f"  {line}" for failure in result.failures for line in failure.lines()]
        return lines


class Broken(Exception):  # noqa: N818 (a verdict, raised where it is reached)
    """A property does not hold."""

    def __init__(self, case: object, found: str, fix: str = "") -> None:
        super().__init__(found)
        self.case, self.found, self.fix = str(case), found, fix


class Unchecked(Exception):  # noqa: N818
    """A property cannot be checked here; the message says why."""
