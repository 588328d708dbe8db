"""The queue as a table: runs that wait, the next one first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from dapoctl.runs.jobs.scheduler import Decision
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.numbers import age
from dapoctl.views.text import cell, line

WIDE = 100
"""Columns from which the id is shown in full"""


def reason(each: Decision, held: bool) -> str:
    """Why a ticket waits, in the words of this screen's keys."""
    if each.ticket.held:
        return "◼ held: h lets it go on"
    return "the queue is held: H lets it go on" if held else each.why


class TicketTable(VirtualList):
    """Tickets in order, each with the reason why it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.line: Sequence[Decision] = ()
        self.names: Mapping[str, str] = {}
        self.held = False
        self.now = 0.0

    def show(self, line: Sequence[Decision], names: Mapping[str, str], held: bool, now: float) -> None:
        """Draw `line`; the cursor stays on its run.

        Args:
            names: short names of runs by id
            held: whether the whole queue is held
            now: seconds since the epoch
        """
        current = self.current()
        self.line, self.names, self.held, self.now = line, names, held, now
        place = None
        if current is not None:
            place = next((index for index, each in enumerate(line) if each.ticket.run == current.ticket.run), None)
        self.refresh_rows(place)

    def current(self) -> Decision | None:
        """The ticket under the cursor."""
        return self.line[self.cursor] if 0 <= self.cursor < len(self.line) else None

    def count(self) -> int:
        return len(self.line)

    def header(self, width: int) -> Text:
        """Titles above the columns."""
        return Text(self._cells("#", "run", "for", "prio", "needs", "why it waits", width), "bold dim", no_wrap=True)

    def row(self, index: int, width: int) -> Text:
        each = self.line[index]
        ticket = each.ticket
        name = ticket.run if width >= WIDE else self.names.get(ticket.run, ticket.run)
        text = self._cells(
            str(index + 1),
            line(name),
            age(ticket.queued, self.now),
            str(ticket.priority) if ticket.priority else "",
            str(ticket.need),
            line(reason(each, self.held)),
            width,
        )
        return Text(text, "dim" if ticket.held else "", end="")

    def _cells(self, place: str, run: str, since: str, priority: str, need: str, why: str, width: int) -> str:
        name = cell(run, 38 if width >= WIDE else 22)
        if width < 60:
            return f"{cell(place, 3, True)} {name} {why}"
        return f"{cell(place, 3, True)}  {name} {cell(since, 4, True)} {cell(priority, 5, True)} {cell(need, 5, True)}  {why}"
