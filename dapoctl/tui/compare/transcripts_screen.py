"""Transcripts: where do they part?"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType

from dapoctl.tui.compare.transcript import Transcript
from dapoctl.tui.compare.transcript_pair import TranscriptPair
from dapoctl.tui.keys import key


class TranscriptsScreen(TranscriptPair):
    """Two transcripts with their keys."""

    HEADING = "Transcripts"
    QUESTION = "Where do they part? Responses of two runs to one problem; ▶ stands where they begin to differ."
    SCOPED_CSS = False
    CSS = """
    TranscriptsScreen #where, TranscriptsScreen #truth { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    TranscriptsScreen #problem { height: auto; max-height: 5; margin: 0 0 1 0; background: $surface; }
    TranscriptsScreen #problem.whole { max-height: 60%; }
    TranscriptsScreen.-short #problem { display: none; margin: 0; }
    TranscriptsScreen.-short #problem.whole { display: block; max-height: 70%; }
    TranscriptsScreen #pair { layout: horizontal; height: 1fr; }
    TranscriptsScreen.-narrow #pair { layout: vertical; }
    TranscriptsScreen .side { width: 1fr; height: 1fr; }
    TranscriptsScreen.-normal #second, TranscriptsScreen.-wide #second { border-left: solid $panel; }
    TranscriptsScreen .side Static { height: auto; max-height: 3; }
    TranscriptsScreen.-short .side Static { max-height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key("n", "problem(1)", "Next", "transcripts.next"),
        key("p", "problem(-1)", "Previous", "transcripts.previous"),
        key("greater_than_sign,full_stop", "sample(1)", "Next response", "transcripts.next_response", show=False),
        key("less_than_sign,comma", "sample(-1)", "Response", "transcripts.previous_response"),
        key("s", "swap", "Other runs", "transcripts.swap"),
        key("g", "part", "Where they part", "transcripts.part"),
        key("t", "whole", "Whole problem", "transcripts.whole"),
        key("down,j", "scroll(1)", "Down", "transcripts.down", show=False),
        key("up,k", "scroll(-1)", "Up", "transcripts.up", show=False),
        key("pagedown,space", "page(1)", "Page down", "transcripts.page_down", show=False),
        key("pageup", "page(-1)", "Page up", "transcripts.page_up", show=False),
        key("home", "jump(0)", "Beginning", "transcripts.first", show=False),
        key("end", "jump(1)", "End", "transcripts.last", show=False),
    ]

    def action_scroll(self, by: int) -> None:
        self._go(self.top + by)

    def action_page(self, direction: int) -> None:
        column = self.query(Transcript).first()
        self._go(self.top + direction * max(1, column.scrollable_content_region.height - 1))

    def action_jump(self, end: int) -> None:
        self._go(10**9 if end else 0)

    def action_part(self) -> None:
        self._at_mark = True
        self._go_to_mark()

    # What is shown next.

    def action_problem(self, by: int) -> None:
        if not self.order or not self._evaluations:
            return
        at = self.order.index(self.problem_id) if self.problem_id in self.order else 0
        place = max(0, min(len(self.order) - 1, at + by))
        if self.order[place] == self.problem_id:
            self.app.notify("the last problem" if by > 0 else "the first problem", markup=False)
            return
        self.problem_id = self.order[place]
        self._read()

    def action_sample(self, by: int) -> None:
        numbers = self.pair.numbers if self.pair else []
        if self.sample in numbers:
            place = numbers.index(self.sample) + by
            if 0 <= place < len(numbers):
                self.sample = numbers[place]
                self._draw(fresh=True)

    def action_swap(self) -> None:
        if len(self._pairs) > 1 and self._evaluations:
            self._turn = (self._turn + 1) % len(self._pairs)
            self._read()

    def action_whole(self) -> None:
        self.query_one("#problem").toggle_class("whole")
        self.call_after_refresh(self._draw)
