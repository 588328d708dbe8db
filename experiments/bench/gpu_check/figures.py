"""What was measured, beside what was expected; a section that fails does not stop the next."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.runs.files import write_text
from dapoctl.views.markdown import code, escaped, table


@dataclass(frozen=True)
class Figure:
    """One figure."""

    section: str
    what: str
    value: float | str | bool
    low: float | None = None
    """The least that is expected; None for no bound"""
    high: float | None = None
    unit: str = ""

    @property
    def verdict(self) -> str:
        """`ok`, `outside`, or empty where nothing is expected."""
        if isinstance(self.value, bool):
            return "ok" if self.value else "outside"
        if isinstance(self.value, str) or (self.low is None and self.high is None):
            return ""
        inside = (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)
        return "ok" if inside else "outside"

    def expected(self) -> str:
        """The range in words."""
        if isinstance(self.value, bool):
            return "yes"
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        return (
            f"at least {self.low:g}"
            if self.low is not None
            else f"at most {self.high:g}"
            if self.high is not None
            else ""
        )


@dataclass
class Figures:
    """All of them, written anew after each section."""

    folder: Path
    limit: float
    """Seconds after which no section begins"""
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[Figure] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    _section: str = ""

    def add(self, what: str, value: Any, low: float | None = None, high: float | None = None, unit: str = "") -> None:
        """Note a figure of the section that runs."""
        value = round(value, 6) if isinstance(value, float) else value
        figure = Figure(self._section, what, value, low, high, unit)
        self.rows.append(figure)
        print(
            f"[{time.monotonic() - self.begun:4.0f} s] {figure.section}: {what} {_shown(value)} {unit} {figure.verdict}",
            flush=True,
        )

    def run(self, name: str, section: Callable[[Figures], None]) -> None:
        """Do a section, unless it is too late."""
        if time.monotonic() - self.begun > self.limit:
            self.failed[name] = f"not begun: the {self.limit:g} s were over"
        else:
            with self._running(name):
                section(self)
        self.write()

    @contextmanager
    def _running(self, name: str) -> Iterator[None]:
        self._section, begun = name, time.monotonic()
        try:
            yield
        except Exception as error:  # noqa: BLE001 (the next section may work)
            traceback.print_exc()
            self.failed[name] = f"{type(error).__name__}: {str(error)[:300]}"
        self.add("seconds", round(time.monotonic() - begun, 1))

    def write(self) -> None:
        """gpu-check.json and gpu-check.md."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [{**asdict(row), "verdict": row.verdict} for row in self.rows]
        write_text(
            self.folder / "gpu-check.json",
            json.dumps({"about": self.about, "figures": rows, "failed": self.failed}, indent=1),
        )
        write_text(self.folder / "gpu-check.md", self.markdown())

    def markdown(self) -> str:
        """A table of all figures."""
        lines = [f"- {code(key)}: {escaped(str(value))}" for key, value in self.about.items()]
        lines += [f"- **{code(name)} failed**: {escaped(why)}" for name, why in self.failed.items()]
        cells = [
            [
                escaped(row.section),
                escaped(row.what),
                escaped(f"{_shown(row.value)} {row.unit}".strip()),
                escaped(row.expected()),
                row.verdict,
            ]
            for row in self.rows
        ]
        return "\n".join(
            [
                "# GPU check",
                "",
                *lines,
                "",
                *table(["section", "what", "found", "expected", ""], cells, left=(0, 1, 2, 3, 4)),
                "",
            ]
        )

    @property
    def sound(self) -> bool:
        """Whether every section ran, and nothing was outside of what was expected."""
        return not self.failed and all(row.verdict != "outside" for row in self.rows)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
