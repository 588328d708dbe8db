"""Compare: did it help, or is it noise?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType

from dapoctl.tui.actions.evaluations import evaluate_runs, options_like, stop_evaluations, usual_options
from dapoctl.tui.compare import choices
from dapoctl.tui.compare.compared_runs import ComparedRuns
from dapoctl.tui.compare.matrix import ORDERS, Matrix
from dapoctl.tui.compare.summary import (
    ALL,
    DIFFERENT,
    FILTERS,
    telling_side,
)
from dapoctl.tui.keys import key
from dapoctl.tui.messages import OpenRun
from dapoctl.tui.widgets.virtual import VirtualList


class CompareScreen(ComparedRuns):
    """The comparison with its keys."""

    HEADING = "Compare"
    QUESTION = "Did it help, or is it noise? Evaluations of one set, paired by problem, against a baseline (A)."
    SCOPED_CSS = False
    CSS = """
    CompareScreen #compare-head { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    CompareScreen Grid { max-height: 40%; }
    CompareScreen #verdict { height: auto; max-height: 9; margin: 0 0 1 0; }
    CompareScreen.-short #verdict { max-height: 2; margin: 0; }
    CompareScreen #verdict:focus, CompareScreen #details:focus { background: $surface; }
    CompareScreen #lower { height: 1fr; }
    CompareScreen #problems { width: 1fr; }
    CompareScreen #matrix-head { height: 1; }
    CompareScreen #details { width: 1fr; padding: 0 1; display: none; }
    CompareScreen.-wide #details { width: 2fr; display: block; border-left: solid $panel; }
    CompareScreen.-details #details { display: block; }
    CompareScreen.-narrow.-details #problems, CompareScreen.-normal.-details #problems { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key("b", "baseline", "Baseline", "compare.baseline"),
        key("d", "different", "Different", "compare.different"),
        key("o", "order", "Order", "compare.order"),
        key("f", "filter", "Gained, lost, all", "compare.filter", show=False),
        key("v", "view", "What differs", "compare.view"),
        key("t", "set", "Choose the set", "compare.set", show=False),
        key("s", "step", "Choose the step of a run", "compare.step", show=False),
        key("a", "runs", "Choose runs", "compare.runs", show=False),
        key("e", "evaluate", "Evaluate", "compare.evaluate"),
        key("x", "stop", "Stop evaluating", "compare.stop", show=False),
        key("X", "export", "Export", "compare.export"),
    ]

    @on(VirtualList.Chosen)
    def _row_chosen(self, event: VirtualList.Chosen) -> None:
        if isinstance(event.widget, Matrix):
            self._transcripts()
        elif (side := self.current()) is not None:
            self.post_message(OpenRun(side.run, "evals"))

    # Keys.

    def _transcripts(self) -> None:
        from dapoctl.tui.compare.transcripts_screen import TranscriptsScreen

        problem, found = self.matrix.current(), self.found
        if problem is None or found is None:
            return
        words = [side.word for side in found.measured()]
        order = [each.problem for each in self.lines]
        second = telling_side(self.lines[self.matrix.cursor], self._place())
        screen = TranscriptsScreen(self.session, words, found.set, problem, order, second, self._shelf)
        self.app.push_screen(screen, self._came_back)

    def _came_back(self, _result: None) -> None:
        self.matrix.focus()

    def action_baseline(self) -> None:
        found = self.found
        if found is None or len(found.sides) < 2:
            return
        place = self.grid.rows.cursor or 1
        words = [side.word for side in found.sides]
        self.words = [words[place], *(word for word in words if word != words[place])]
        self.session.baseline = found.sides[place].run
        self._marks = self._marked()
        self.grid.rows.cursor = 0 if self.grid.rows.cursor else 1
        self._load()

    def action_different(self) -> None:
        self.filter = ALL if self.filter == DIFFERENT else DIFFERENT
        self._draw_lower()

    def action_filter(self) -> None:
        self.filter = FILTERS[(FILTERS.index(self.filter) + 1) % len(FILTERS)]
        self._draw_lower()

    def action_order(self) -> None:
        names = [*ORDERS]
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self._draw_lower()

    def action_view(self) -> None:
        """Where there is room for one only: the problems, or what differs between the runs."""
        self.toggle_class("-details")
        shown = self.has_class("-details")
        self.query_one("#details").focus() if shown else self.matrix.focus()
        self.call_after_refresh(self._draw_lower)

    def action_set(self) -> None:
        if self.found is not None:
            choices.choose_set(self, self.found, self._take_set)

    def _take_set(self, set_: str) -> None:
        self.set = set_
        self._load()

    def action_step(self) -> None:
        if self.found is not None and (side := self.current()) is not None:
            choices.choose_steps(self, self.found, side, self.take_words)

    def action_runs(self) -> None:
        choices.choose_runs(self, [side.run for side in self.found.sides] if self.found else [], self.take_words)

    def take_words(self, words: Sequence[str]) -> None:
        """Compare `words` on the same set."""
        self.words = list(words)
        self._load()

    def action_export(self) -> None:
        if self.found is not None and self.found.comparison is not None:
            choices.export_comparison(self, self.found.comparison, self.lines)

    def action_evaluate(self) -> None:
        found = self.found
        if found is None:
            self.action_runs()
            return
        asked = [side for side in found.lacking if (self.session.root / side.run).is_dir()] or list(found.sides)
        known = next((side.evaluation for side in found.measured() if side.evaluation), None)
        run = self.session.snapshot.find(asked[0].run) if asked else None
        options = usual_options(run) if run is not None else []
        if known is not None and found.lacking:
            options = options_like(known)
        evaluate_runs(self, [side.word for side in asked], options, self._take_set)

    def action_stop(self) -> None:
        sides = self.found.sides if self.found else ()
        going = [
            self.session.root / side.run for side in sides if side.background is not None and side.background.alive
        ]
        stop_evaluations(self, list(dict.fromkeys(going)))
