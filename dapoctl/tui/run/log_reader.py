"""The log of an attempt, kept up with: what is shown of it, and what goes on in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from textual import on
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.runs.attempts import EXIT, LOG, attempts
from dapoctl.runs.files import read_json
from dapoctl.tui.run.log_view import LogView
from dapoctl.tui.run.open_log import OpenLog, Progress, Search, Window
from dapoctl.tui.run.pane import Pane, ShownRun
from dapoctl.tui.screen import is_wanted
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.renew import renew
from dapoctl.views.text import data, line

T = TypeVar("T")


class LogReader(Pane):
    """The log of one attempt; the last one at first, at its end, following it. A subclass adds the keys."""

    LEADS = "LogView"
    DEFAULT_CSS = "LogReader #log-state { height: 1; color: $text-muted; }"

    def __init__(self, session: Session, run: ShownRun, id: str) -> None:  # noqa: A002
        super().__init__(session, run, id)
        self.attempts: list[int] = []
        self.exit = ""
        """How the attempt that is shown ended"""
        self.opened: OpenLog | None = None
        self.following = True
        self.text = ""
        """What was searched for last"""
        self.search: Search | None = None
        """What goes on"""
        self._number: int | None = None
        """Of the first line in the view"""

    def compose(self) -> Iterable[Widget]:
        yield Static(id="log-state", markup=False)
        yield LogView()

    @property
    def view(self) -> LogView:
        """The lines."""
        return self.query_one(LogView)

    def on_mount(self) -> None:
        self.tick()

    # Keeping up with the file.

    def tick(self) -> None:
        last = self.attempts[-1] if self.attempts else 0
        log = self.opened
        kept = log.kept if log and self.search is None else None

        def look() -> tuple[list[int], str, bool]:
            numbers = [int(path.name) for path in attempts(self.directory)]
            ended = read_json(log.file.path.with_name(EXIT)) if log else None
            state = str(ended.get("state", "")) if isinstance(ended, dict) else ""
            changed = log.file.look() if log else False
            if kept:
                changed = kept.update(lambda _share: is_wanted()) or changed
            return numbers, state, changed

        def seen(news: tuple[list[int], str, bool]) -> None:
            self.attempts, self.exit, changed = news
            if self.attempts and (log is None or (log.attempt == last != self.attempts[-1] and self.following)):
                self.open(self.attempts[-1])
            elif log is not None and log is self.opened and (changed or self._is_behind(log)):
                self._reload()
            self.draw_state()

        self.work(look, seen, "look", unless_busy=True)
        if log is not None and not log.file.indexed:
            index = log.file.index
            self.work(lambda: index(lambda: not is_wanted()), lambda _done: self._count(), "index", unless_busy=True)

    def _is_behind(self, log: OpenLog) -> bool:
        rows = self.view.rows
        return log.kept is None and self.view.at_end and log.file.size != (rows[-1].end if rows else 0)

    def _reload(self) -> None:
        if self.following:
            self.load(None)
        elif self.view.at_end:
            self.load(self.place)

    def _count(self) -> None:
        """Number the lines, now that they are counted."""
        if self._number is None and self.opened is not None and not self.opened.kept:
            self.load(self.place)

    def open(self, attempt: int) -> None:
        """Show the log of an attempt, from its end."""
        self.give_up_search()
        self.opened = OpenLog(attempt, self.directory / "attempts" / str(attempt) / LOG)
        self.exit, self.following = "", True
        self.view.show([], 0, True, True)
        self.load(None)
        self.draw_state()

    @property
    def place(self) -> int:
        """Where the line under the cursor begins."""
        row = self.view.current
        return row.start if row else 0

    def load(self, place: int | None) -> None:
        """Show the line at `place`, or the last one, and those around it."""
        log = self.opened
        if log is None:
            return
        kept = log.kept

        def show(window: Window) -> None:
            if self.opened is log and log.kept is kept:
                self._number = window.number
                self.view.show(window.rows, window.place, window.at_start, window.at_end)

        self.work(lambda: log.window(kept, place), show, "load")

    @on(LogView.Moved)
    def _log_moved(self) -> None:
        view = self.view
        # Who goes up wants to read; who goes to the very end wants what comes.
        if view.rows:
            self.following = self.following and view.cursor == len(view.rows) - 1
        self.draw_state()

    @on(LogView.NearEdge)
    def _near_edge(self) -> None:
        self.load(self.place)

    def draw_state(self) -> None:
        """The line above the log."""
        log, parts = self.opened, [str(self.search or "")]
        if log is None:
            parts.append("no log yet: nobody has worked on this run" if not self.attempts else "")
        else:
            of = f" of {self.attempts[-1]}" if len(self.attempts) > 1 else ""
            parts.append(f"attempt {log.attempt}{of}{f' ({self.exit})' if self.exit else ''}")
            counted = self._number is not None and not log.kept
            parts.append(log.where(self.view.current, (self._number or 0) + self.view.cursor if counted else None))
            if self.following and not self.exit:
                parts.append("following")
        if log is not None and log.kept is not None:
            full = " (no more fit)" if log.kept.full else ""
            parts.append(f"only {len(log.kept.starts):,} lines with `{self.text}`{full}, esc shows all")
        elif self.text:
            parts.append(f"`{self.text}` n N")
        renew(self.query_one("#log-state", Static), data(line("   ".join(part for part in parts if part))))

    def run_search(self, what: str, function: Callable[[Progress], T], then: Callable[[T], None]) -> None:
        """Do `function` in a thread, one at a time, then `then` with its result unless it was given up."""
        search = self.search = Search(what)

        def progress(share: float) -> bool:
            search.share = share
            return is_wanted()

        def done(result: T) -> None:
            self.search = None
            then(result)
            self.draw_state()

        self.work(lambda: function(progress), done, "search")
        self.draw_state()

    def give_up_search(self) -> None:
        self.search = None
        self.give_up("search")
