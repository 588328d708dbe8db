"""What every screen has: the bar, the keys, and cards in place of crashes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.containers import Vertical
from textual.messages import Prune
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer
from textual.worker import NoActiveWorker, Worker, WorkerState, get_current_worker

from dapoctl.errors import DapoctlError
from dapoctl.tui.widgets.bars import Card, TopBar

if TYPE_CHECKING:
    from dapoctl.runs.jobs.watch import Snapshot
    from dapoctl.tui.session import Session

T = TypeVar("T")
FIRST = ("app.quit", "app.help")


class GivenUp(Exception):  # noqa: N818 (no error: something newer is wanted)
    """Nobody waits for the result any more."""


class Job(NamedTuple):
    """What is done in a thread for a screen."""

    worker: Worker[Any]
    then: Callable[[Any], None]


class WorkbenchScreen(Screen[None]):
    """Base of the screens. A subclass gives its widgets in `body` and draws the store's news in `store_changed`."""

    HEADING: ClassVar[str] = ""
    QUESTION: ClassVar[str] = ""
    """What the screen answers, for the help page"""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (70, "-normal"), (120, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (20, "-tall")]

    ready = False
    """Whether the widgets are there"""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._jobs: dict[str, Job] = {}
        """By group"""
        # It has no styles yet that a change of theme could have left behind. Not told so, Textual 8 reads every style sheet
        # again when a place is opened for the first time, which takes longer than all the rest of it.
        with contextlib.suppress(RuntimeError):  # outside of an app
            self._css_update_count = self.app._css_update_count

    def on_mount(self) -> None:
        self.ready = True

    async def on_prune(self, event: Prune) -> None:  # noqa: ARG002 (its name in Textual, which calls its own one too)
        # The widgets go one by one from here on, while the app's clock still strikes and threads come back.
        self.ready = False

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """Those that work here now. The way out and the help stand first: a narrow footer cuts off what is last."""
        found = super().active_bindings
        first = {key: active for key, active in found.items() if active.binding.id in FIRST}
        return first | found

    def compose(self) -> ComposeResult:
        yield TopBar(self.session)
        yield Vertical(id="cards")
        yield from self.body()
        yield Footer(show_command_palette=False, compact=True)

    def body(self) -> Iterable[Widget]:
        """The screen's own widgets, below the bar."""
        return ()

    def store_changed(self, snapshot: Snapshot) -> None:
        """The store was looked at again, or the screen came to the front."""

    def visible_runs(self) -> set[str]:
        """Ids of the runs that the screen shows, to be read again every few seconds though they have ended."""
        return set()

    def tick(self) -> None:
        """Called twice a second while the screen is in front: look at the files that it shows."""

    def on_screen_resume(self, _event: events.ScreenResume) -> None:
        if self.ready:
            self.refresh_bar()
            self.store_changed(self.session.snapshot)

    def refresh_bar(self) -> None:
        """Draw the bar again, if it says something else now."""
        for bar in self.query(TopBar):
            bar.renew()

    def work(self, function: Callable[[], T], then: Callable[[T], None], group: str, unless_busy: bool = False) -> None:
        """Do `function` in a thread, then `then` with its result in the app; what either raises becomes a card.

        Nothing is drawn on a screen that is being left.

        Args:
            group: a newer job of the group takes the place of one that is not done
            unless_busy: leave the one that is not done instead, and do nothing
        """
        if unless_busy and self.is_busy(group):
            return
        worker = self.run_worker(
            partial(_guarded, function), group=group, exclusive=True, thread=True, exit_on_error=False
        )
        self._jobs[group] = Job(worker, then)
        self.busy_changed(group)

    def is_busy(self, group: str) -> bool:
        """Whether a job of the group is not done."""
        return group in self._jobs

    def give_up(self, group: str) -> None:
        """End the job of the group, if there is one; nothing is drawn of it."""
        if (job := self._jobs.pop(group, None)) is not None:
            job.worker.cancel()

    def busy_changed(self, group: str) -> None:
        """A job of the group has begun, or failed: for a screen that says whether it is busy."""

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        event.stop()
        job = self._jobs.get(event.worker.group)
        if job is None or job.worker is not event.worker or event.state in (WorkerState.PENDING, WorkerState.RUNNING):
            return
        del self._jobs[event.worker.group]
        if not (self.is_attached and self.ready):
            return
        error = event.worker.error
        try:
            if event.state is WorkerState.SUCCESS:
                job.then(event.worker.result)
        except Exception as raised:  # noqa: BLE001 (it becomes a card, whatever it is)
            error = raised
        if error is not None:
            self.busy_changed(event.worker.group)
            self.show_error(error)

    def refuse_readonly(self, what: str) -> bool:
        """Whether `what` must not be done because nothing may be changed; the user is told."""
        if self.session.readonly:
            self.app.notify(f"{what}: this session is read only", severity="warning", markup=False)
        return self.session.readonly

    def show_error(self, error: BaseException) -> None:
        """A card with what went wrong; a newer one takes its place."""
        known = isinstance(error, DapoctlError)
        message = str(error) if known else f"{type(error).__name__}: {error}"
        cards = self.query_one("#cards", Vertical)
        cards.remove_children()
        cards.mount(Card(message, "that did not work" if known else "something went wrong"))

    def clear_errors(self) -> None:
        """Take the cards away."""
        self.query_one("#cards", Vertical).remove_children()


def _guarded(function: Callable[[], T]) -> T:
    try:
        return function()
    except SystemExit as error:
        # In a thread it would end the app, from whatever library it comes.
        raise RuntimeError(f"it tried to end the program ({error})") from error


def is_wanted() -> bool:
    """Whether the job that this is called in is still wanted; true outside of one."""
    try:
        return not get_current_worker().is_cancelled
    except NoActiveWorker:
        return True


def give_up_unless_wanted() -> None:
    """
    Raises:
        GivenUp: the job that this is called in is no longer wanted.
    """
    if not is_wanted():
        raise GivenUp
