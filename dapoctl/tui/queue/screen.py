"""Queue and devices: what waits for what?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.runs.jobs.watch import Snapshot
from dapoctl.tui.keys import key
from dapoctl.tui.messages import OpenRun, ReadStore
from dapoctl.tui.queue.state import Waiting, device_lines, drop_run, hold_queue, hold_run, move_run, read_queue
from dapoctl.tui.queue.ticket_table import TicketTable, reason
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.dialogs import Confirm
from dapoctl.tui.widgets.renew import renew
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.runs import called
from dapoctl.views.text import data

EMPTY = """
Nothing waits.

A run waits here when no device is free for it: one that Launch (3) puts in the queue,
one that is resumed, or one that `dapoctl run --queue` starts.
"""


class QueueScreen(WorkbenchScreen):
    """Devices, and the runs that wait for them."""

    HEADING = "Queue"
    QUESTION = "What waits for what? The devices of this machine and who has them; the queue, the next run first."
    BINDINGS: ClassVar[list[BindingType]] = [
        key("K", "shift('up')", "Move up", "queue.up"),
        key("J", "shift('down')", "Down", "queue.down"),
        key("T", "shift('top')", "To the top", "queue.top", show=False),
        key("h", "hold", "Hold/release", "queue.hold"),
        key("H", "hold_all", "Hold/release the whole queue", "queue.hold_all", show=False),
        key("d", "drop", "Drop", "queue.drop"),
    ]
    DEFAULT_CSS = """
    #devices { height: auto; max-height: 40%; padding: 0 1; margin-bottom: 1; overflow-y: auto; }
    #queue-why { height: auto; max-height: 5; padding: 0 1; color: $text-muted; }
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.waiting: Waiting | None = None

    def body(self) -> Iterable[Widget]:
        yield Static(id="devices", markup=False)
        with Vertical(id="queue"):
            yield Static(id="queue-head", markup=False)
            yield TicketTable()
            yield Static(id="queue-why", markup=False)
        yield Static(id="queue-empty", markup=False)

    @property
    def table(self) -> TicketTable:
        """The queue."""
        return self.query_one(TicketTable)

    def on_mount(self) -> None:
        self.table.focus()
        self._draw()
        self.store_changed(self.session.snapshot)

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._draw)

    def visible_runs(self) -> set[str]:
        return {each.ticket.run for each in self.table.line}

    def store_changed(self, snapshot: Snapshot) -> None:
        if self.app.screen is self:
            root = self.session.root
            self.work(lambda: read_queue(root, snapshot.devices, dict(snapshot.taken)), self._take, "queue")

    def _take(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self._draw()

    def _draw(self) -> None:
        snapshot, waiting = self.session.snapshot, self.waiting or Waiting()
        width = self.size.width - 2
        lines = device_lines(snapshot.devices, dict(snapshot.taken), dict(waiting.owners), width)
        renew(self.query_one("#devices", Static), Text("\n").join(lines))
        empty = not waiting.line
        self.query_one("#queue").display = not empty
        self.query_one("#queue-empty").display = empty
        held = f"The queue is held ({waiting.why}): nothing starts until H lets it go on.\n" if waiting.held else ""
        text = "\nLooking ..." if self.waiting is None else held + EMPTY
        renew(self.query_one("#queue-empty", Static), data(text))
        names = {run.id: called(run) for run in snapshot.runs}
        self.table.show(waiting.line, names, waiting.held, waiting.read)
        head = self.table.header(width)
        if waiting.held:
            head = Text.assemble((held, "bold yellow"), head)
        renew(self.query_one("#queue-head", Static), head)
        self._explain()

    def _explain(self) -> None:
        """All that there is to say about the ticket under the cursor, whose row may be cut, and who starts what waits."""
        each = self.table.current()
        texts = [] if each is None else [f"{each.ticket.run}: {reason(each, self.table.held)}"]
        if self.waiting is not None and self.waiting.watched:
            texts.append(self.waiting.watched)
        renew(self.query_one("#queue-why", Static), data("\n".join(texts)))

    @on(VirtualList.Moved)
    def _cursor_moved(self) -> None:
        self._explain()

    @on(VirtualList.Chosen)
    def _row_chosen(self) -> None:
        if (each := self.table.current()) is not None:
            self.post_message(OpenRun(each.ticket.run))

    def _do(self, what: Callable[[], str]) -> None:
        """Change the queue in a thread, say what became of it, and look again."""

        def done(message: str) -> None:
            if message:
                self.app.notify(message, markup=False)
            self.store_changed(self.session.snapshot)
            self.post_message(ReadStore())

        self.clear_errors()
        self.work(what, done, "change")

    def action_shift(self, to: str) -> None:
        each, line, root = self.table.current(), self.table.line, self.session.root
        if each is None or self.refuse_readonly("move"):
            return
        ticket = each.ticket
        peers = [other.ticket.run for other in line if other.ticket.priority == ticket.priority]
        if ticket.run == (peers[-1] if to == "down" else peers[0]):
            if len(peers) < len(line):
                self.app.notify(f"a run moves among those of its priority ({ticket.priority})", markup=False)
            return
        self._do(lambda: move_run(root, ticket.run, to))

    def action_hold(self) -> None:
        each, root = self.table.current(), self.session.root
        if each is not None and not self.refuse_readonly("hold"):
            self._do(lambda: hold_run(root, each.ticket.run, not each.ticket.held))

    def action_hold_all(self) -> None:
        root, waiting = self.session.root, self.waiting
        if waiting is None or self.refuse_readonly("hold"):
            return
        if not root.is_dir():
            self.app.notify(f"there is no store at {root} yet", severity="warning", markup=False)
            return
        self._do(lambda: hold_queue(root, not waiting.held))

    def action_drop(self) -> None:
        each, root = self.table.current(), self.session.root
        if each is None or self.refuse_readonly("drop"):
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._do(lambda: drop_run(root, each.ticket.run))

        question = f"Take {each.ticket.run} out of the queue?\nThe run stays; resuming it queues it again."
        self.app.push_screen(Confirm(question), answered)
