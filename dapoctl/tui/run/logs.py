"""Logs: what did it say?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.runs.attempts import EXIT, LOG, attempts
from dapoctl.runs.files import read_json
from dapoctl.runs.logfile import ERROR, Kept, LogFile, Sought, searched
from dapoctl.tui.keys import key
from dapoctl.tui.run.log_view import LogView
from dapoctl.tui.run.log_window import Window, read_window
from dapoctl.tui.run.pane import Pane, ShownRun
from dapoctl.tui.run.search import Finder, Told
from dapoctl.tui.screen import is_wanted
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.dialogs import Ask
from dapoctl.tui.widgets.renew import renew
from dapoctl.tui.widgets.text_view import TextPage
from dapoctl.views.numbers import amount
from dapoctl.views.text import data, line

LONGEST_PAGE = 2**20
"""Bytes of a line that are shown when it is opened"""


class LogsPane(Pane):
    """The log of one attempt; the last one at first, at its end, following it."""

    LEADS = "LogView"
    DEFAULT_CSS = """
    LogsPane #log-state { height: 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key("t", "follow", "Follow", "logs.follow"),
        key("slash", "find", "Find", "logs.find"),
        key("ampersand", "keep", "Keep only", "logs.keep"),
        key("n", "next(1)", "Next", "logs.next", show=False),
        key("N", "next(-1)", "Previous", "logs.previous", show=False),
        key("E", "error", "Error", "logs.error"),
        key("colon", "place", "Go to", "logs.place"),
        key("home", "end(0)", "First line", "logs.first", show=False),
        key("end,G", "end(1)", "Last line", "logs.last", show=False),
        key("less_than_sign,A", "attempt(-1)", "Attempt before", "logs.attempt_before", show=False),
        key("greater_than_sign,a", "attempt(1)", "Attempt after", "logs.attempt_after", show=False),
        key("escape", "give_up", "Give up searching, show all lines", "logs.give_up", show=False),
    ]

    def __init__(self, session: Session, run: ShownRun, id: str) -> None:  # noqa: A002
        super().__init__(session, run, id)
        self.numbers: list[int] = []
        """The run's attempts"""
        self.attempt = 0
        self.exit = ""
        self.file: LogFile | None = None
        self.kept: Kept | None = None
        self.following = True
        self.words = ""
        """What was searched for last"""
        self.finder = Finder(self, self.draw_state)
        self._number: int | None = None

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
        last = self.numbers[-1] if self.numbers else 0
        attempt, log, kept = self.attempt, self.file, self.kept

        def look() -> tuple[list[int], str, bool]:
            numbers = [int(path.name) for path in attempts(self.directory)]
            said = read_json(self._folder(attempt) / EXIT) if attempt else None
            state = str(said.get("state", "")) if isinstance(said, dict) else ""
            changed = log.look() if log else False
            if kept and not self.finder.words:
                changed = kept.update(lambda _share: is_wanted()) or changed
            return numbers, state, changed

        def seen(found: tuple[list[int], str, bool]) -> None:
            self.numbers, self.exit, changed = found
            if self.numbers and (not attempt or (attempt == last != self.numbers[-1] and self.following)):
                self.open(self.numbers[-1])
            elif log is not None and log is self.file and (changed or self._is_behind(log)):
                self._reload()
            self.draw_state()

        self.work(look, seen, "look", unless_busy=True)
        if log is not None and not log.indexed:
            self.work(
                lambda: log.index(lambda: not is_wanted()), lambda _done: self._count(), "index", unless_busy=True
            )

    def _is_behind(self, log: LogFile) -> bool:
        rows = self.view.rows
        return self.kept is None and self.view.at_end and log.size != (rows[-1].end if rows else 0)

    def _reload(self) -> None:
        if self.following:
            self.load_end()
        elif self.view.at_end:
            self.load(self.place)

    def _count(self) -> None:
        """Number the lines, now that they are counted."""
        if self._number is None and self.file is not None and not self.kept:
            self.load(self.place)

    def _folder(self, attempt: int) -> Path:
        return self.directory / "attempts" / str(attempt)

    def open(self, attempt: int) -> None:
        """Show the log of an attempt, from its end."""
        self.attempt, self.kept, self.exit = attempt, None, ""
        self.file, self.following = LogFile(self._folder(attempt) / LOG), True
        self.view.show([], 0, True, True)
        self.load_end()
        self.draw_state()

    @property
    def place(self) -> int:
        """Where the line under the cursor begins."""
        row = self.view.current
        return row.start if row else 0

    def load_end(self) -> None:
        """Show the end."""
        self._load(None)

    def load(self, place: int) -> None:
        """Show the line at `place`, and those around it."""
        self._load(place)

    def _load(self, place: int | None) -> None:
        log, kept = self.file, self.kept
        if log is None:
            return

        def shown(window: Window) -> None:
            if (self.file, self.kept) == (log, kept):
                self._number = window.number
                self.view.show(window.rows, window.place, window.at_start, window.at_end)

        self.work(lambda: read_window(log, kept, place), shown, "load")

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
        words = []
        if self.file is None:
            words.append("no log yet: nobody has worked on this run" if not self.numbers else "")
        else:
            of = f" of {self.numbers[-1]}" if len(self.numbers) > 1 else ""
            words.append(f"attempt {self.attempt}{of}{f' ({self.exit})' if self.exit else ''}")
            words += self._where(self.file)
        if self.following and self.file is not None and not self.exit:
            words.append("following")
        if self.kept is not None:
            full = " (no more fit)" if self.kept.full else ""
            words.append(f"only {len(self.kept.starts):,} lines with `{self.words}`{full}, esc shows all")
        elif self.words:
            words.append(f"`{self.words}` n N")
        if self.finder.words:
            words.insert(0, self.finder.words)
        renew(self.query_one("#log-state", Static), data(line("   ".join(word for word in words if word))))

    def _where(self, log: LogFile) -> list[str]:
        if not log.size:
            return ["nothing was said yet" if log.exists else "no log: in the foreground it speaks to its terminal"]
        share = f"{100 * min(1.0, self.view.current.end / log.size):.0f}%" if self.view.current else ""
        if self._number is not None and not self.kept:
            return [f"line {self._number + self.view.cursor:,} ({share} of {amount_of(log.size)})"]
        return [f"{share} of {amount_of(log.size)}"]

    # Searching, in a thread.

    def _seek(self, what: str, function: Callable[[Told], int | None]) -> None:
        """Go to the place that `function` finds."""

        def found(place: int | None) -> None:
            if place is None:
                self.app.notify(f"{what}: not found", markup=False)
                return
            self.following = False
            self.load(place)

        self.finder.start(what, function, found)

    def _find(self, sought: Sought, what: str, back: bool = False, here: bool = False) -> None:
        log, row = self.file, self.view.current
        if log is None or row is None:
            return

        def find(told: Told) -> int | None:
            found = log.find(sought, row.start if back or here else row.end, back, told)
            if found is None and told(0.0):
                # Around the other end.
                found = log.find(sought, log.size if back else 0, back, told)
            return found

        self._seek(what, find)

    def action_find(self) -> None:
        def answered(words: str | None) -> None:
            if words:
                self.words = words
                self._mark(words)
                self._find(searched(words), f"finding `{words}`", here=True)

        self.app.push_screen(Ask("Find which text? Small letters find capitals too.", self.words, "loss"), answered)

    def _mark(self, words: str) -> None:
        flags = 0 if words != words.lower() else re.IGNORECASE
        self.view.pattern = re.compile(re.escape(words), flags) if words else None
        self.view.refresh()

    def action_next(self, direction: int) -> None:
        if not self.words:
            self.action_find()
        elif self.kept is not None:
            self.view.action_move(direction)
        else:
            self._find(searched(self.words), f"finding `{self.words}`", back=direction < 0)

    def action_error(self) -> None:
        if self.kept is not None:
            self._show_all()
        self._find(ERROR, "finding the next error")

    def action_keep(self) -> None:
        def answered(words: str | None) -> None:
            if words is None or self.file is None:
                return
            self.words = words
            self._mark(words)
            if not words:
                self._show_all()
                return
            kept = self.kept = Kept(self.file, searched(words))
            self.view.show([], 0, True, True)
            self.finder.start("looking through the log", kept.update, lambda _changed: self.load_end())

        self.app.push_screen(Ask("Keep only lines with which text? Empty keeps all.", self.words, "eval"), answered)

    def _show_all(self) -> None:
        self.kept = None
        self.load(self.place)
        self.draw_state()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape leaves the screen unless there is something to give up."""
        if action == "give_up":
            return bool(self.finder.words or self.kept)
        return super().check_action(action, parameters)

    def action_give_up(self) -> None:
        if self.finder.words:
            self.finder.give_up()
        else:
            self._show_all()

    # Places.

    def action_follow(self) -> None:
        self.following = not self.following
        if self.following:
            self.load_end()
        self.draw_state()

    def action_end(self, which: int) -> None:
        if which:
            self.following = True
            self.load_end()
        else:
            self.following = False
            self.load(0)

    def action_place(self) -> None:
        def answered(words: str | None) -> None:
            if words and self.file is not None:
                self._go(self.file, words.strip().lower())

        self.app.push_screen(Ask("Go to which line? 1200, 50%, start or end.", "", "50%"), answered)

    def _go(self, log: LogFile, words: str) -> None:
        if words in ("end", "$"):
            self.action_end(1)
        elif words in ("start", "^"):
            self.action_end(0)
        elif words.endswith("%") and words[:-1].replace(".", "", 1).isdecimal():
            share = float(words[:-1]) / 100
            self._seek(f"going to {words}", lambda _told: log.at_share(min(1.0, share)))
        elif words.replace(",", "").isdecimal():
            number = int(words.replace(",", "")[:18])

            def seek(told: Told) -> int | None:
                log.index(lambda: not told(0.0))
                return log.place_of(number)

            self._seek(f"going to line {number:,}", seek)
        else:
            self.app.notify(f"`{words}` is no place: 1200, 50%, start or end", severity="warning", markup=False)

    def action_attempt(self, by: int) -> None:
        if self.attempt in self.numbers:
            place = self.numbers.index(self.attempt) + by
            if 0 <= place < len(self.numbers):
                self.open(self.numbers[place])

    @on(LogView.Chosen)
    def _line_chosen(self, event: LogView.Chosen) -> None:
        log, row = self.file, event.row
        if log is None:
            return

        def read() -> str:
            whole = log.row(row.start, row.end, LONGEST_PAGE)
            return whole.text + ("" if whole.whole else f"\n... ({amount(row.end - row.start)} in all)")

        def opened(text: str) -> None:
            self.app.push_screen(TextPage("the whole line", text))

        self.work(read, opened, "line")


def amount_of(size: int) -> str:
    """Bytes as `812 B`, `14 KiB`, `3 MiB` or `1.3 GiB`."""
    return f"{size} B" if size < 2**10 else f"{size / 2**10:.0f} KiB" if size < 2**20 else amount(size)
