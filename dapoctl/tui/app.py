"""The app: it reads the store, and leads from one screen to the other."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import App, ScreenStackError, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from dapoctl.runs.jobs.watch import STATES_EVERY, Snapshot
from dapoctl.tui.keys import key, read_keymap
from dapoctl.tui.messages import CompareRuns, LaunchFrom, OpenRun, ReadStore
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.session import Session

TICK = 0.5
"""Seconds between looks at the files that are on the screen"""
SELDOM = 1000
"""Collections of young garbage between two of all objects"""


@dataclass(frozen=True)
class Place:
    """A screen that a digit leads to."""

    mode: str
    title: str
    value: str
    """`module:Class`, imported when it is first needed"""

    def build(self, session: Session) -> WorkbenchScreen:
        """The screen."""
        module, _, name = self.value.partition(":")
        screen: WorkbenchScreen = getattr(import_module(module), name)(session)
        return screen


PLACES = (
    Place("runs", "Runs", "dapoctl.tui.home.screen:RunsScreen"),
    Place("queue", "Queue", "dapoctl.tui.queue.screen:QueueScreen"),
    Place("launch", "Launch", "dapoctl.tui.launch.screen:LaunchScreen"),
    Place("compare", "Compare", "dapoctl.tui.compare.screen:CompareScreen"),
    Place("ablation", "Ablation", "dapoctl.tui.ablation.screen:AblationScreen"),
    Place("plugins", "Plugins", "dapoctl.tui.plugins.screen:PluginsScreen"),
)


LATER = ("dapoctl.tui.actions.runs", "dapoctl.tui.run", "dapoctl.tui.help_page")


class Workbench(App[None]):
    """`dapoctl tui`."""

    TITLE = "dapoctl"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            key(str(digit), f"go('{place.mode}')", place.title, f"go.{place.mode}", show=False)
            for digit, place in enumerate(PLACES, 1)
        ),
        key("question_mark", "help", "Help", "app.help"),
        key("escape", "back", "Back", "app.back", show=False),
        Binding("ctrl+q", "quit", "Quit, runs go on", priority=True, id="app.quit"),
    ]

    class StoreRead(Message):
        """The store was looked at."""

        def __init__(self, snapshot: Snapshot) -> None:
            super().__init__()
            self.snapshot = snapshot

    def __init__(
        self, root: Path, readonly: bool = False, keymap: Path | None = None, theme: str | None = None
    ) -> None:
        """
        Args:
            root: the run store
            readonly: nothing is started, stopped or written
            keymap: a file with other keys
            theme: one of Textual's
        """
        super().__init__()
        if theme is not None:
            self.theme = theme
        self.session = Session(root, readonly, {place.mode: place.title for place in PLACES})
        self.keymap_file = keymap
        self._settled = False
        self._again = False
        """Whether the store was changed while it was being read"""
        for place in PLACES:
            self.add_mode(place.mode, partial(place.build, self.session))

    @property
    def front(self) -> WorkbenchScreen | None:
        """The screen that is looked at, once its widgets are there; none under a dialog, or while the app ends."""
        with contextlib.suppress(ScreenStackError):
            screen = self.screen
            return screen if isinstance(screen, WorkbenchScreen) and screen.ready else None
        return None

    def on_mount(self) -> None:
        if self.keymap_file is not None:
            from dapoctl.tui.help_page import binding_ids

            self.set_keymap(read_keymap(self.keymap_file, binding_ids()))
        self.switch_mode("runs")
        self.look()
        self.set_interval(STATES_EVERY, self._look_unless_busy)
        self.set_interval(TICK, self._tick)

    def _look_unless_busy(self) -> None:
        if not self._is_looking():
            self.look()

    def _is_looking(self) -> bool:
        return any(worker.group == "store" and not worker.is_finished for worker in self.workers)

    @on(ReadStore)
    def look(self) -> None:
        """Look at the store in a thread; once more if that is being done, for it may have begun before the change."""
        self._again = self._is_looking()
        if self._again:
            return
        front = self.front
        self._read_store(front.visible_runs() if front is not None else set())

    @work(group="store", thread=True, exit_on_error=False)
    def _read_store(self, visible: set[str]) -> None:
        self.post_message(self.StoreRead(self.session.store.look(visible)))

    def settle(self) -> None:
        """Let the garbage collector leave alone what is there by now, and seldom look at everything.

        Going through all objects of a large store takes up to a tenth of a second, in which no key is heard.
        """
        gc.freeze()
        gc.set_threshold(*gc.get_threshold()[:2], SELDOM)

    @work(group="rest", thread=True, exit_on_error=False)
    def _import_the_rest(self) -> None:
        """What the first screen does without, before a key needs it."""
        for name in (*(place.value.partition(":")[0] for place in PLACES), *LATER):
            # What is broken is told to whoever asks for it.
            with contextlib.suppress(ImportError):
                import_module(name)

    @on(StoreRead)
    def _draw_news(self, message: StoreRead) -> None:
        if not self._settled and not self.is_headless:
            self._settled = True
            self.settle()
            self._import_the_rest()
        # A screen below is told when it comes to the front: Textual would draw all of what covers it for each of its lines.
        if (screen := self._uppermost) is not None:
            screen.store_changed(message.snapshot)
            screen.refresh_bar()
        if self._again:
            self.look()

    @property
    def _uppermost(self) -> WorkbenchScreen | None:
        """The screen that is seen, under a dialog too."""
        shown = (screen for screen in reversed(self.screen_stack) if isinstance(screen, WorkbenchScreen))
        screen = next(shown, None)
        return screen if screen is not None and screen.ready else None

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        failed = event.state is WorkerState.ERROR
        if failed and event.worker.error is not None and (screen := self._uppermost) is not None:
            screen.show_error(event.worker.error)

    def _tick(self) -> None:
        if (front := self.front) is not None:
            front.tick()

    # The ways from screen to screen.

    def action_go(self, mode: str) -> None:
        """The screen that a digit leads to."""
        self.switch_mode(mode)

    async def action_back(self) -> None:
        """One screen back; from the first of a place, to the runs."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif self.current_mode != "runs":
            self.switch_mode("runs")

    def open_run(self, run: str, tab: str = "charts") -> None:
        """One run, at one of its tabs."""
        from dapoctl.tui.run import RunScreen

        self.push_screen(RunScreen(self.session, run, tab))

    @on(OpenRun)
    def _open_run(self, message: OpenRun) -> None:
        self.open_run(message.run, message.tab)

    async def launch_from(self, run: str | None, changes: dict[str, Any] | None = None) -> None:
        """The launch form, filled in as in `run` with `changes` (dotted key -> value) on top."""
        from dapoctl.tui.launch.screen import LaunchScreen

        screen = await self._first_of("launch")
        if isinstance(screen, LaunchScreen):
            screen.take(run, changes or {})

    @on(LaunchFrom)
    async def _launch_from(self, message: LaunchFrom) -> None:
        await self.launch_from(message.run, message.changes)

    async def compare_runs(self, runs: list[str], set_: str | None = None) -> None:
        """Compare runs (RUN or RUN@STEP), the first of them the baseline."""
        from dapoctl.tui.compare.screen import CompareScreen

        screen = await self._first_of("compare")
        if isinstance(screen, CompareScreen):
            screen.take(runs, set_)

    @on(CompareRuns)
    async def _compare_runs(self, message: CompareRuns) -> None:
        await self.compare_runs(message.runs, message.set)

    async def _first_of(self, mode: str) -> Screen[Any]:
        """The first screen of a place, with nothing on top of it."""
        await self.switch_mode(mode)
        while len(self.screen_stack) > 1:
            # Not awaited: it may be the screen that asks for this.
            self.pop_screen()
        return self.screen_stack[0]

    def action_help(self) -> None:
        """The keys of this screen, and what it is for."""
        from dapoctl.tui.help_page import help_page
        from dapoctl.tui.widgets.dialogs import Page

        self.push_screen(Page("help", help_page(self.screen)))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers besides the screens' own commands."""
        for digit, place in enumerate(PLACES, 1):
            yield SystemCommand(f"Go to {place.title}", f"Key {digit}", partial(self.action_go, place.mode))
        yield SystemCommand("Help", "Keys of this screen", self.action_help)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        yield SystemCommand("Quit", "Leave; runs go on", self.exit)
        if isinstance(screen, WorkbenchScreen):
            for run in self.session.snapshot.runs[:200]:
                yield SystemCommand(f"Open {run.id}", run.state, partial(self.open_run, run.id))
