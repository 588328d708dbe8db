"""Two responses to one problem side by side: read in a thread, laid out, scrolled together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text
from textual import events, on
from textual.containers import Container, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.errors import UserError
from dapoctl.evaluation.compare.badges import divergence, label
from dapoctl.evaluation.compare.comparison import matrix_of
from dapoctl.evaluation.stored import Evaluation, responses, split_step
from dapoctl.runs.store import find_run
from dapoctl.tui.compare.model import Shelf
from dapoctl.tui.compare.transcript import Laid, Transcript, lay_out
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.session import Session
from dapoctl.views import numbers
from dapoctl.views.runs import called
from dapoctl.views.text import data, line
from dapoctl.views.transcripts import first_disagreement

LONG = 20_000
"""Characters of a response that are laid out in a thread"""
NONE = "(no response to this problem)"
Responses = Mapping[int, Mapping[str, Any]]


class TranscriptPair(WorkbenchScreen):
    """The same problem from two runs. A subclass adds the keys."""

    def __init__(
        self,
        session: Session,
        words: Sequence[str],
        set_: str,
        problem: str,
        order: Sequence[str] = (),
        second: int = 1,
        shelf: Shelf | None = None,
    ) -> None:
        """
        Args:
            session: what all screens share
            words: RUN or RUN@STEP, the baseline first
            set_: the evaluation set
            problem: its id
            order: the problems that the keys go through; empty for those of the matrix
            second: place in `words` of the run beside the baseline
            shelf: evaluations that were read before
        """
        super().__init__(session)
        self.words, self.set, self.problem_id = list(words), set_, problem
        self.order = list(order)
        self.pair: Pair | None = None
        self.sample = 0
        self.top = 0
        """The line at which both columns begin, as far as they reach"""
        self._at_mark = True
        """Whether nobody has moved away from where the two part"""
        self._shelf = shelf or Shelf()
        self._evaluations: list[Evaluation] = []
        self._pairs = [(a, b) for a in range(len(self.words)) for b in range(a + 1, len(self.words))]
        wanted = (0, second or 1)
        self._turn = self._pairs.index(wanted) if wanted in self._pairs else 0
        self._problem_text = ""

    def body(self) -> Iterable[Widget]:
        yield Static(id="where", markup=False)
        yield Static(id="truth", markup=False)
        with VerticalScroll(id="problem", can_focus=False):
            yield Static(markup=False)
        with Container(id="pair"):
            for name in ("first", "second"):
                with Vertical(id=name, classes="side"):
                    yield Static(markup=False)
                    yield Transcript()

    def on_mount(self) -> None:
        self.query_one("#where", Static).update(data(f"reading {self.problem_id} ..."))
        root, words, set_ = self.session.root, self.words, self.set

        def read() -> tuple[list[Evaluation], list[str]]:
            found = []
            for word in words:
                name, step = split_step(word)
                found.append(self._shelf.open(find_run(root, name), set_, step))
            return found, self.order or [row.problem for row in matrix_of(found)]

        self.work(read, self._opened, "evaluations")

    def _opened(self, found: tuple[list[Evaluation], list[str]]) -> None:
        self._evaluations, self.order = found
        if len(self._evaluations) < 2:
            self.show_error(UserError("two evaluations are needed to set responses side by side"))
            return
        self._read()

    def _read(self) -> None:
        """Read both runs' responses to the problem."""
        problem, places = self.problem_id, self._pairs[self._turn]
        sides = [self._evaluations[place] for place in places]

        def read() -> Pair:
            first, second = (responses(each, problem) for each in sides)
            return Pair(problem, places, (first, second))

        self.work(read, self._arrived, "responses")

    def _arrived(self, pair: Pair) -> None:
        self.pair, self.sample = pair, pair.first()
        self._draw(fresh=True)

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._draw)

    # What is shown.

    def _rows(self) -> list[Mapping[str, Any] | None]:
        return [each.get(self.sample) for each in self.pair.found] if self.pair else [None, None]

    def _draw(self, fresh: bool = False) -> None:
        """Everything; `fresh` goes to where the two part."""
        pair, rows = self.pair, self._rows()
        if pair is None:
            return
        texts = [str(row["response"]) if row is not None else NONE for row in rows]
        apart = None if texts[0] == texts[1] else divergence(texts[0], texts[1])
        self._head(pair, rows, texts, apart)
        for name, place, row, found in zip(("first", "second"), pair.places, rows, pair.found, strict=True):
            self.query_one(f"#{name} Static", Static).update(self._side(place, row, found))
        columns = [*self.query(Transcript)]
        # Of one width, so that what both share breaks into the same lines.
        width = min(column.columns for column in columns)

        def lay() -> list[Laid]:
            return [lay_out(text, apart, width) for text in texts]

        self._at_mark |= fresh

        def laid(found: list[Laid]) -> None:
            longer = max(columns, key=lambda column: len(column.laid.lines))
            begin = longer.laid.begin(self.top)
            for column, each in zip(columns, found, strict=True):
                column.show(each)
            if self._at_mark:
                self.call_after_refresh(self._go_to_mark, False)
            else:
                self.call_after_refresh(self._move, longer.laid.line_at(begin))

        if max(map(len, texts)) < LONG:
            laid(lay())
        else:
            self.work(lay, laid, "lay out")

    def _head(
        self, pair: Pair, rows: Sequence[Mapping[str, Any] | None], texts: Sequence[str], apart: int | None
    ) -> None:
        place = f"{self.order.index(pair.problem) + 1} of {len(self.order)}" if pair.problem in self.order else ""
        numbers = pair.numbers
        shown = f"response {self.sample} of {numbers[0]} to {numbers[-1]}" if numbers else "no response"
        where = [f"{line(pair.problem)} ({place})", shown]
        if len(self._pairs) > 1:
            where.append(f"{' and '.join(label(at) for at in pair.places)} of {len(self.words)} runs")
        self.query_one("#where", Static).update(Text(" · ".join(where), "bold", no_wrap=True, end=""))
        asked = [row for row in rows if row is not None]
        answer = line(str(asked[0]["answer"])) if asked else "?"
        if apart is None:
            words = "the same text"
        else:
            words = f"they part at word {len(texts[0][:apart].split()) + 1} (character {apart + 1})"
        truth = Text.assemble(("answer ", "bold"), (answer, "bold green"), f" · {words}", no_wrap=True, end="")
        self.query_one("#truth", Static).update(truth)
        parts = [data(str(asked[0]["prompt"]).strip())] if asked else []
        if len(asked) == 2 and asked[0]["prompt"] != asked[1]["prompt"]:
            parts.append(data(f"\n{label(pair.places[1])} was asked in other words:\n", "yellow"))
            parts.append(data(str(asked[1]["prompt"]).strip()))
        self.query_one("#problem Static", Static).update(Text.assemble(*parts))

    def _side(self, place: int, row: Mapping[str, Any] | None, found: Responses) -> Text:
        evaluation = self._evaluations[place]
        name = f"{label(place)}  {called(evaluation.run)}@{evaluation.step}"
        if row is None:
            return Text.assemble((name, "bold"), "\nno response")
        right = sum(bool(other["correct"]) for other in found.values())
        extracted = "no answer" if row["extracted"] is None else f"answer {line(str(row['extracted']))}"
        good = "green" if row["correct"] else "red"
        facts = f": {extracted}{', truncated' if row['truncated'] else ''}"
        counts = f"{numbers.count(float(row['tokens']))} tokens; {right} of {len(found)} right"
        outcome = (line(str(row["outcome"])), good)
        if self.has_class("-short"):
            return Text.assemble((f"{label(place)} ", "bold"), outcome, f"{facts}; {counts}", no_wrap=True)
        return Text.assemble((f"{name}\n", "bold"), outcome, f"{facts}\n{counts}", no_wrap=True, overflow="ellipsis")

    # Moving.

    @on(Transcript.Scrolled)
    def _scrolled(self, event: Transcript.Scrolled) -> None:
        event.stop()
        if event.top != min(self.top, event.widget.last_top):
            self._go(event.top)

    def _go(self, top: int) -> None:
        """The user wants to see line `top`."""
        self._at_mark = False
        self._move(top)

    def _move(self, top: int) -> None:
        """Begin both columns at line `top`, the shorter one as far as it reaches."""
        columns = [*self.query(Transcript)]
        self.top = max(0, min(top, max((column.last_top for column in columns), default=0)))
        for column in columns:
            column.lead(self.top)

    def _go_to_mark(self, always: bool = True) -> None:
        columns = [*self.query(Transcript)]
        lines = [column.laid.line_of_mark for column in columns]
        height = min((column.scrollable_content_region.height for column in columns), default=1)
        if always or max(lines) >= height:
            self._move(max(0, min(lines) - height // 3))
        else:
            self._move(0)


@dataclass(frozen=True)
class Pair:
    """Two runs' responses to one problem."""

    problem: str
    places: tuple[int, int]
    """Of the two among the runs"""
    found: tuple[Responses, Responses]
    """By number"""

    @property
    def both(self) -> list[int]:
        """The numbers that both have."""
        return sorted(self.found[0].keys() & self.found[1].keys())

    @property
    def numbers(self) -> list[int]:
        """The numbers that can be shown: those that both have; where there are none, those of either."""
        return self.both or sorted(self.found[0].keys() | self.found[1].keys())

    def first(self) -> int:
        """The response that tells most: the first that one has right and the other has not."""
        return first_disagreement(self.both, *self.found) if self.both else next(iter(self.numbers), 0)
