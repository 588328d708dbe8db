"""The launch form as it is filled in: what it begins with, what the resolver says of it, and how it is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text
from textual import events, on
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.components.catalog import installed
from dapoctl.errors import UserError
from dapoctl.runs.difference import Difference
from dapoctl.runs.store import runs_root
from dapoctl.runs.summary import RunSummary, read_record
from dapoctl.tui.launch import fit
from dapoctl.tui.launch.fit import Fit
from dapoctl.tui.launch.form import parts as catalogue
from dapoctl.tui.launch.form.choice import Choice
from dapoctl.tui.launch.form.clone import Clone, begin, since
from dapoctl.tui.launch.form.command_line import WAYS, arguments, spelled
from dapoctl.tui.launch.form.parts import Part
from dapoctl.tui.launch.form.rows import FIRST
from dapoctl.tui.launch.form.verdict import Verdict, examine
from dapoctl.tui.launch.form_list import opened_at_first
from dapoctl.tui.launch.form_pane import FormPane
from dapoctl.tui.launch.launch_text import parent_text, side_text, verdict_text
from dapoctl.tui.launch.part_list import PartList
from dapoctl.tui.launch.start import file_parts
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import data

PAUSE = 0.08
"""Seconds without a change before the resolver is asked"""


class LaunchForm(WorkbenchScreen):
    """A choice and the verdict on it. A subclass adds the keys."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.choice, self.verdict = Choice(), Verdict()
        self.parent_run: RunSummary | None = None
        self.difference: Difference | None = None
        self.left_out: tuple[str, ...] = ()
        self.catalogue: list[Part] = []
        self.files: list[Part] = []
        self.way = WAYS[0]
        self.place: Path | None = None
        """The store, where a command has to be told"""
        self._timer: Timer | None = None
        self._rest: Timer | None = None
        self._fresh = True
        """Whether the folds are still to be set"""
        self._judged: Choice | None = None
        self._fit: tuple[str, Fit] | None = None
        """What the doctor says, and of which command line"""
        self._said: dict[str, Text] = {}
        self._wanted: tuple[str | None, dict[str, Any]] | None = None
        """What to begin with, asked for before the widgets were there"""

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="panes"):
            with Vertical(id="parts", classes="pane") as parts:
                parts.border_title = "components"
                yield PartList()
            form = FormPane(id="form")
            form.add_class("pane")
            form.border_title = "settings"
            yield form
            side = Static(id="side", markup=False)
            side.add_class("wide-only")
            yield side
        yield Static(id="about", markup=False)
        yield Static(id="parent", markup=False)
        yield Static(id="verdict", markup=False)
        yield Static(id="line", markup=False)

    @property
    def part_list(self) -> PartList:
        """The checklist."""
        return self.query_one(PartList)

    @property
    def form(self) -> FormPane:
        """The fields."""
        return self.query_one(FormPane)

    def on_mount(self) -> None:
        root = self.session.root
        self.place = None if root.resolve() == runs_root().resolve() else root
        self.part_list.focus()
        self._draw()
        self.work(lambda: catalogue.glance(installed()), self._glanced, "parts")
        if self._wanted is not None:
            self._take(*self._wanted)
        else:
            self._examine()

    def _glanced(self, parts: list[Part]) -> None:
        self.catalogue = parts
        self._draw()
        self.work(lambda: catalogue.test(parts, installed()), self._tested, "parts")

    def _tested(self, parts: list[Part]) -> None:
        self.catalogue = parts
        self._draw()

    # What the form begins with.

    def take(self, run: str | None, changes: Mapping[str, Any]) -> None:
        """Fill the form in as in `run`, or with the defaults, and with `changes` (dotted key -> value) on top."""
        if not self.ready:
            self._wanted = run, dict(changes)
        else:
            self._take(run, changes)

    def _take(self, run: str | None, changes: Mapping[str, Any]) -> None:
        root, names = self.session.root, {found.name for found in self.session.snapshot.runs}

        def prepare() -> tuple[Clone, list[Part]]:
            parent = read_record(root / run) if run is not None else None
            if parent is not None and parent.problem:
                raise UserError(f"run `{run}` cannot be cloned: {parent.problem}")
            clone = begin(parent, changes, names)
            return clone, file_parts(clone.choice)

        self.work(prepare, self._begin, "take")

    def _begin(self, begun: tuple[Clone, list[Part]]) -> None:
        clone, self.files = begun
        self.choice, self.parent_run, self.left_out = clone.choice, clone.parent, clone.left_out
        self.difference, self._fresh = None, True
        self.form.reset_all()
        self.clear_errors()
        self._draw()
        self._examine()

    # What the resolver says.

    def _changed(self) -> None:
        """Something was chosen: draw it, and ask the resolver when that seems to be all."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._examine)
        self._draw()

    def _examine(self) -> None:
        choice, parent = self.choice.copy(), self.parent_run

        def inside() -> tuple[Choice, Verdict, Difference | None]:
            verdict = examine(choice)
            found = since(parent, verdict.resolved) if parent is not None and verdict.resolved is not None else None
            return choice, verdict, found

        self.work(inside, self._examined, "examine")

    def _examined(self, found: tuple[Choice, Verdict, Difference | None]) -> None:
        self._judged, self.verdict, difference = found
        self.difference = difference or self.difference
        self.choice.usual[self.verdict.model] = dict(self.verdict.usual)
        form = self.form.list
        form.show(self.choice, self.verdict)
        asked = {*self.verdict.words.values()}
        if self._fresh and self.verdict.sheets:
            self._fresh = False
            form.opened = opened_at_first(form.sections, FIRST, asked)
        self._draw()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(fit.RESTED, self._ask_doctor)

    def _ask_doctor(self) -> None:
        """Whether the choice fits this machine, unless that is known or it is none."""
        asked, could_run = self._described, self.verdict.resolved is not None and not self.pending
        if could_run and (self._fit is None or self._fit[0] != asked):
            options = arguments(self.choice, self.verdict.sheets, self.place)[2:]
            self.work(lambda: (asked, fit.ask_doctor(options)), self._doctor_said, "doctor", unless_busy=True)

    def _doctor_said(self, found: tuple[str, Fit]) -> None:
        self._fit = found
        self._draw()
        # Something else was chosen meanwhile.
        self._ask_doctor()

    # Drawing.

    @property
    def fit(self) -> Fit | None:
        """What the doctor says of the choice as it is."""
        return self._fit[1] if self._fit is not None and self._fit[0] == self._described else None

    @property
    def _described(self) -> str:
        """The run, however it is started."""
        return spelled(arguments(self.choice, self.verdict.sheets, self.place))

    @property
    def pending(self) -> bool:
        """Whether the resolver has still to speak about what was changed last."""
        return self._judged is None or self._judged.said != self.choice.said

    def _draw(self) -> None:
        self.part_list.show(self.choice, self.verdict, [*self.catalogue, *self.files])
        form = self.form.list
        form.was = {key: old for key, (old, _) in self.difference.keys.items()} if self.difference else {}
        form.show(self.choice, self.verdict)
        parent = self.parent_run.id if self.parent_run else ""
        self.query_one("#parent").set_class(bool(parent), "-shown")
        said = verdict_text(self.verdict, self.left_out, self.pending, self.form.refused, self.fit)
        self._say("verdict", said, layout=True)
        self._say("line", data(f"$ {self.line}"), layout=True)
        self._say("side", side_text(self.verdict, parent, self.difference))
        self._say("parent", parent_text(parent, self.difference))
        self._about()

    def _say(self, where: str, text: Text, layout: bool = False) -> None:
        """Draw what has changed; `layout` where it may take another number of lines."""
        if self._said.get(where) != text:
            self._said[where] = text
            self.query_one(f"#{where}", Static).update(text, layout=layout)

    def _about(self) -> None:
        form = self.form
        listed = form.list if self.focused is not None and form in self.focused.ancestors else self.part_list
        self._say("about", listed.about())

    @property
    def line(self) -> str:
        """The command line that describes the same run."""
        return spelled(arguments(self.choice, self.verdict.sheets, self.place, self.way))

    @on(VirtualList.Moved)
    def _cursor_moved(self) -> None:
        self._about()

    def on_descendant_focus(self, _event: events.DescendantFocus) -> None:
        if self.ready:
            self._about()
