"""Logs: what did it say?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.binding import BindingType

from dapoctl.runs.logfile import ERROR, Kept, Sought, searched
from dapoctl.tui.keys import key
from dapoctl.tui.run.log_reader import LogReader
from dapoctl.tui.run.log_view import LogView
from dapoctl.tui.run.open_log import OpenLog, Progress
from dapoctl.tui.widgets.dialogs import Ask
from dapoctl.tui.widgets.text_view import TextPage


class LogsPane(LogReader):
    """A log with its keys."""

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

    def _seek(self, what: str, function: Callable[[Progress], int | None]) -> None:
        """Go to the place that `function` finds."""

        def go(place: int | None) -> None:
            if place is None:
                self.app.notify(f"{what}: not found", markup=False)
                return
            self.following = False
            self.load(place)

        self.run_search(what, function, go)

    def _find(self, sought: Sought, what: str, back: bool = False, here: bool = False) -> None:
        log, row = self.opened, self.view.current
        if log is not None and row is not None:
            place = row.start if back or here else row.end
            self._seek(what, lambda progress: log.find(sought, place, back, progress))

    def action_find(self) -> None:
        def answered(text: str | None) -> None:
            if text:
                self._mark(text)
                self._find(searched(text), f"finding `{text}`", here=True)

        self.app.push_screen(Ask("Find which text? Small letters find capitals too.", self.text, "loss"), answered)

    def _mark(self, text: str) -> None:
        self.text = text
        flags = 0 if text != text.lower() else re.IGNORECASE
        self.view.pattern = re.compile(re.escape(text), flags) if text else None
        self.view.refresh()

    def action_next(self, direction: int) -> None:
        if not self.text:
            self.action_find()
        elif self.opened is not None and self.opened.kept is not None:
            self.view.action_move(direction)
        else:
            self._find(searched(self.text), f"finding `{self.text}`", back=direction < 0)

    def action_error(self) -> None:
        if self.opened is not None and self.opened.kept is not None:
            self._show_all(self.opened)
        self._find(ERROR, "finding the next error")

    def action_keep(self) -> None:
        log = self.opened

        def answered(text: str | None) -> None:
            if text is None or log is None or log is not self.opened:
                return
            self._mark(text)
            if not text:
                self._show_all(log)
                return
            kept = log.kept = Kept(log.file, searched(text))
            self.view.show([], 0, True, True)
            self.run_search("looking through the log", kept.update, lambda _changed: self.load(None))

        self.app.push_screen(Ask("Keep only lines with which text? Empty keeps all.", self.text, "eval"), answered)

    def _show_all(self, log: OpenLog) -> None:
        log.kept = None
        self.load(self.place)
        self.draw_state()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape leaves the screen unless there is something to give up."""
        if action == "give_up":
            return bool(self.search or (self.opened and self.opened.kept))
        return super().check_action(action, parameters)

    def action_give_up(self) -> None:
        if self.search is not None:
            self.give_up_search()
            self.draw_state()
        elif self.opened is not None:
            self._show_all(self.opened)

    # Places.

    def action_follow(self) -> None:
        self.following = not self.following
        if self.following:
            self.load(None)
        self.draw_state()

    def action_end(self, which: int) -> None:
        self.following = bool(which)
        self.load(None if which else 0)

    def action_place(self) -> None:
        def answered(text: str | None) -> None:
            if text and self.opened is not None:
                self._go(self.opened, text.strip().lower())

        self.app.push_screen(Ask("Go to which line? 1200, 50%, start or end.", "", "50%"), answered)

    def _go(self, log: OpenLog, text: str) -> None:
        if text in ("end", "$"):
            self.action_end(1)
        elif text in ("start", "^"):
            self.action_end(0)
        elif text.endswith("%") and text[:-1].replace(".", "", 1).isdecimal():
            share = min(1.0, float(text[:-1]) / 100)
            self._seek(f"going to {text}", lambda _progress: log.file.at_share(share))
        elif text.replace(",", "").isdecimal():
            number = int(text.replace(",", "")[:18])
            self._seek(f"going to line {number:,}", lambda progress: log.place_of_line(number, progress))
        else:
            self.app.notify(f"`{text}` is no place: 1200, 50%, start or end", severity="warning", markup=False)

    def action_attempt(self, by: int) -> None:
        if self.opened is not None and self.opened.attempt in self.attempts:
            place = self.attempts.index(self.opened.attempt) + by
            if 0 <= place < len(self.attempts):
                self.open(self.attempts[place])

    @on(LogView.Chosen)
    def _line_chosen(self, event: LogView.Chosen) -> None:
        log, row = self.opened, event.row
        if log is not None:

            def show(text: str) -> None:
                self.app.push_screen(TextPage("the whole line", text))

            self.work(lambda: log.whole_line(row), show, "line")
