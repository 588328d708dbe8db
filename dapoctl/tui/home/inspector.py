"""What there is to know of the run under the cursor, beside the table."""

from __future__ import annotations

import time

from rich.text import Text
from textual.widgets import Static

from dapoctl.runs.attempts import attempts, read_activity
from dapoctl.runs.history import Courses
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.runs.state import ALIVE
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.widgets.renew import renew
from dapoctl.views.metrics import is_held_out, shown_in, title, written
from dapoctl.views.numbers import duration, sparkline
from dapoctl.views.progress import PHASES
from dapoctl.views.runs import state_text
from dapoctl.views.text import cell, data, line

LABEL = 12


class Inspector(Static):
    """A run in a column of text."""

    DEFAULT_CSS = "Inspector { width: 46; height: 1fr; padding: 0 1; border-left: solid $panel; }"

    def __init__(self, courses: Courses) -> None:
        super().__init__(markup=False)
        self.courses = courses

    def show(self, run: RunSummary | None, snapshot: Snapshot) -> None:
        """Draw `run`."""
        renew(self, Text("") if run is None else self._page(run, snapshot))

    def _page(self, run: RunSummary, snapshot: Snapshot) -> Text:
        parts = [data(run.id, "bold"), data(f"\n{state_text(run)}")]
        if run.why or run.problem:
            parts.append(data(f"  {line(run.why or run.problem)}", "italic"))
        if run.state in ALIVE:
            parts.append(data(self._now(run, snapshot)))
        parts.append(data(f"\n\n{'components':<{LABEL}}{', '.join(run.components)}"))
        model = run.config.get("model", {}).get("path", "") if isinstance(run.config.get("model"), dict) else ""
        parts.append(data(f"\n{'model':<{LABEL}}{model}"))
        if run.group:
            parts.append(data(f"\n{'sweep':<{LABEL}}{run.group}"))
        if run.tags:
            parts.append(data(f"\n{'tags':<{LABEL}}{', '.join(run.tags)}"))
        if run.note:
            parts.append(data(f"\n{'note':<{LABEL}}{run.note}"))
        parts.append(data("\n"))
        course = self.courses.of(run.directory)
        for metric in shown_in("inspector"):
            values = course.values(metric.name)
            if values:
                last = cell(written(metric.name, values[-1]), 9, True)
                parts.append(data(f"\n{metric.inspector:<{LABEL}}{last}  {sparkline(values, 20)}"))
        for name in filter(is_held_out, run.metrics):
            parts.append(data(f"\n{line(title(name)):<20} {written(name, run.metrics[name])}"))
        return Text.assemble(*parts)

    def _now(self, run: RunSummary, snapshot: Snapshot) -> str:
        tried = attempts(run.directory)
        activity = read_activity(tried[-1]) if tried else None
        words = [] if activity is None else [PHASES.get(activity.phase, activity.phase)]
        if activity is not None and activity.total > 1:
            words.append(f"{activity.done}/{activity.total}")
        seconds = self.courses.of(run.directory).seconds_left(run.steps, time.time())
        if seconds is not None and run.state == "running":
            words.append(f"{duration(seconds)} left")
        if on := snapshot.gpus(run.id):
            words.append(f"on {on}")
        return f"\n{', '.join(words)}" if words else ""
