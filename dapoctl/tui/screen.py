"""What every screen has: the bar, the keys, and cards in place of crashes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.containers import Vertical
from textual.messages import Prune
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer
from textual.worker import Worker, WorkerState

from dapoctl.errors import DapoctlError
from dapoctl.tui.widgets.bars import Card, TopBar

if TYPE_CHECKING:
    from dapoctl.runs.jobs.watch import Snapshot
    from dapoctl.tui.session import Session

T = TypeVar("T")
Check = Callable[[], None]
"""Raises GivenUp when nobody waits for the result any more"""
FIRST = ("app.quit", "app.help")


class GivenUp(Exception):  # noqa: N818 (no error: something newer is wanted)
    """Nobody waits for the result any more."""


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
        """Draw the bar again."""
        for bar in self.query(TopBar):
            bar.refresh()

    def work(self, function: Callable[[], T], then: Callable[[T], None], group: str) -> None:
        """Do `function` in a thread and then `then` with its result in the app; a newer one of the group replaces it.

        What it raises becomes a card.
        """

        def inside() -> None:
            try:
                result = function()
            except SystemExit as error:
                # In a thread it would end the app, from whatever library it comes.
                raise RuntimeError(f"it tried to end the program ({error})") from error
            worker = self._current_worker()
            if worker is None or not worker.is_cancelled:
                self.app.call_from_thread(self._finish, then, result)

        self.run_worker(inside, group=group, exclusive=True, thread=True, exit_on_error=False)

    def _finish(self, then: Callable[[Any], None], result: Any) -> None:
        if self.is_attached and self.ready:
            then(result)

    def _current_worker(self) -> Worker[Any] | None:
        from textual.worker import NoActiveWorker, get_current_worker

        try:
            return get_current_worker()
        except NoActiveWorker:
            return None

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A worker's exception is news, not the app's end."""
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            event.stop()
            self.show_error(event.worker.error)

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


class WorkingScreen(WorkbenchScreen):
    """A screen with a head that says whether it is busy."""

    busy = False

    def draw_head(self) -> None:
        """Draw the head again."""

    def work_out(self, function: Callable[[Check], T], then: Callable[[T], None], group: str) -> None:
        """Do `function` in a thread and then `then` with its result; what it raises becomes a card."""
        self.busy = True
        self.draw_head()

        def inside() -> tuple[T | None, Exception | None]:
            worker = self._current_worker()

            def check() -> None:
                if worker is not None and worker.is_cancelled:
                    raise GivenUp

            try:
                return function(check), None
            except Exception as error:  # noqa: BLE001 (it becomes a card, whatever it is)
                return None, error

        def done(outcome: tuple[T | None, Exception | None]) -> None:
            self.busy = False
            result, error = outcome
            if error is None:
                then(result)  # type: ignore[arg-type]
                return
            self.draw_head()
            if not isinstance(error, GivenUp):
                self.show_error(error)

        self.work(inside, done, group)
