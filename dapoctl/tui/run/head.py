"""What stands above the tabs: how the run stands, and where one is."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static

from dapoctl.runs.attempts import Activity
from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.runs.state import ALIVE
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.widgets.renew import renew
from dapoctl.views.numbers import age, duration
from dapoctl.views.progress import PHASES
from dapoctl.views.runs import COLOURS, called, changes, state_of, state_text
from dapoctl.views.text import line

BAR = 12
"""Columns of the bar of steps"""


class Head(Static):
    """State, steps, time left, what goes on, devices; below it why the run failed, if it did."""

    DEFAULT_CSS = "Head { height: auto; max-height: 2; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.run_summary: RunSummary | None = None
        self.attempts = self.step = 0
        self.activity: Activity | None = None
        self.left: float | None = None
        self.gpus = ""

    def show(self, run: RunSummary, snapshot: Snapshot) -> None:
        """How the store has it."""
        self.run_summary, self.gpus, self.step = run, snapshot.gpus(run.id), max(self.step, run.step)
        self.draw()

    def now(self, attempts: int, activity: Activity | None, step: int, left: float | None) -> None:
        """What goes on right now; `left`: seconds."""
        self.attempts, self.activity, self.step, self.left = attempts, activity, step, left
        self.draw()

    def on_resize(self, _event: events.Resize) -> None:
        self.draw()

    def draw(self) -> None:
        """Draw it again."""
        run = self.run_summary
        if run is None:
            return
        alive = run.state in ALIVE
        parts = [Text(f"{state_text(run)}", f"bold {COLOURS.get(state_of(run), '')}".strip())]
        if run.steps:
            done = min(BAR, int(BAR * min(1.0, self.step / run.steps)))
            bar = f"  {'━' * done}{'─' * (BAR - done)}" if self.size.width >= (100 if alive else 60) else ""
            parts.append(Text(f"{self.step}/{run.steps}{bar}"))
        if run.state == "running" and self.left is not None:
            parts.append(Text(f"{duration(self.left)} left"))
        if alive and self.activity is not None:
            words = PHASES.get(self.activity.phase, self.activity.phase)
            count = f" {self.activity.done}/{self.activity.total}" if self.activity.total > 1 else ""
            parts.append(Text(line(words) + count))
        if self.gpus:
            parts.append(Text(f"on {line(self.gpus)}"))
        if self.attempts > 1:
            parts.append(Text(f"attempt {self.attempts}"))
        parts.append(Text(called(run), "bold"))
        if self.size.width >= 100:
            parts.append(Text(changes(run) if not run.problem else "", "dim"))
        if not alive and run.updated:
            parts.append(Text(f"{age(run.updated)} ago", "dim"))
        text = Text("   " if self.size.width >= 70 else "  ", end="").join(parts)
        text.truncate(max(1, self.size.width), overflow="ellipsis")
        why = run.problem or run.why
        if why:
            text.append("\n")
            bad = state_of(run) in ("failed", "lost", "unreadable")
            reason = Text(line(why), "italic red" if bad else "italic")
            reason.truncate(max(1, self.size.width), overflow="ellipsis")
            text.append_text(reason)
        renew(self, text)


class TabBar(Static):
    """The tabs; the underlined letter leads to each."""

    DEFAULT_CSS = "TabBar { height: 1; background: $panel; }"

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, tabs: Sequence[tuple[str, str]]) -> None:
        super().__init__(markup=False)
        self.tabs = tabs
        self.here = ""

    def show(self, name: str) -> None:
        """Mark the tab in front."""
        self.here = name
        self.refresh()

    def _label(self, name: str) -> str:
        return f" {name.capitalize()} " if self.size.width >= 54 or name == self.here else f" {name[:4].capitalize()} "

    def render(self) -> Text:
        text = Text(no_wrap=True, end="")
        for name, letter in self.tabs:
            label = Text(self._label(name), "bold reverse" if name == self.here else "", end="")
            place = label.plain.lower().find(letter)
            label.stylize("underline bold", place, place + 1)
            text.append_text(label)
        return text

    def on_click(self, event: events.Click) -> None:
        start = 0
        for name, _ in self.tabs:
            start += len(self._label(name))
            if event.x < start:
                self.post_message(self.Chosen(name))
                return
