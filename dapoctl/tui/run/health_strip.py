"""The line about a run's health, and the page behind it."""

from __future__ import annotations

import inspect

from rich.text import Text
from textual import events
from textual.widgets import Static

from dapoctl.runs.history import Course
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.widgets.renew import renew
from dapoctl.views.health import RULES, Health, Look, check, strip_words
from dapoctl.views.health_limits import RECENT

ROWS = 2
"""Warnings that are shown in a row each"""


class HealthStrip(Static):
    """What stands out, in words."""

    DEFAULT_CSS = "HealthStrip { height: auto; max-height: 2; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.health = Health()

    def show(self, health: Health) -> None:
        """Draw what the rules found."""
        if health != self.health:
            self.health = health
            self.draw()

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self, _event: events.Resize) -> None:
        self.draw()

    def draw(self) -> None:
        """Draw it again."""
        found, width = self.health.warnings, max(10, self.size.width)
        if not found:
            renew(self, Text(f"✓ {strip_words(self.health)}" if self.health.steps else "", "dim", end=""))
            return
        rows = ROWS if self.app.size.height >= 20 else 1
        lines = []
        for index, warning in enumerate(found[:rows]):
            more = len(found) - rows
            last = index == min(rows, len(found)) - 1
            tail = f"  (h: {more} more)" if last and more > 0 else "  (h)" if last else ""
            text = Text("✗ " if warning.grave else "▲ ", "bold red" if warning.grave else "bold yellow", end="")
            text.append(warning.what, "not bold")
            text.append(f": {warning.try_}", "dim")
            text.truncate(width - len(tail), overflow="ellipsis")
            lines.append(text.append(tail, "not bold dim"))
        renew(self, Text("\n", end="").join(lines))


def health_of(course: Course, run: RunSummary) -> Health:
    """What the rules say of a run."""
    return check(Look(dict(course.series), run.state, list(course.times), run.why))


def health_page(health: Health) -> str:
    """All warnings in full, and what is looked at."""
    lines = []
    for warning in health.warnings:
        lines += [f"{'✗' if warning.grave else '▲'} {warning.what}", f"    {warning.try_}", ""]
    if not lines:
        lines = [f"✓ {strip_words(health)}", ""]
    rules = [f"  {(inspect.getdoc(rule) or '').splitlines()[0]} ({limit})" for rule, limit in RULES.items()]
    return "\n".join([*lines, f"What is looked at; how it stands is the median of {RECENT} steps:", *rules])
