"""Samples: what does it write, and why that reward?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.runs.samples import Group, Response, Step, path_of, read_step, read_text, steps_of
from dapoctl.tui.keys import key
from dapoctl.tui.run.pane import Pane, ShownRun
from dapoctl.tui.run.sample_text import GroupList, judged, markdown, rewarded
from dapoctl.tui.screen import is_wanted
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.dialogs import Ask
from dapoctl.tui.widgets.text_view import Part, TextView
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import data, line

EMPTY = "\nNo samples yet: every response of a step is written when the step ends."


class SamplesPane(Pane):
    """Step, prompt group, response."""

    LEADS = "TextView"
    DEFAULT_CSS = """
    SamplesPane #sample-state { height: 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key("left_square_bracket,left", "step(-1)", "Step before", "samples.step_before", show=False),
        key("right_square_bracket,right", "step(1)", "Step", "samples.step_after"),
        key("colon", "go", "Go to step", "samples.step", show=False),
        key("j", "group(1)", "Group", "samples.group_after"),
        key("k", "group(-1)", "Group before", "samples.group_before", show=False),
        key("n", "response(1)", "Response", "samples.response_after"),
        key("p", "response(-1)", "Response before", "samples.response_before", show=False),
        key("m", "markdown", "Markdown", "samples.markdown"),
        key("z", "prompt", "Show or hide the prompt", "samples.prompt", show=False),
    ]

    def __init__(self, session: Session, run: ShownRun, id: str) -> None:  # noqa: A002
        super().__init__(session, run, id)
        self.steps: list[int] = []
        self.at_step: int | None = None
        self.found = Step()
        self.group = self.response = 0
        self.rendered = False
        """Whether responses are shown as Markdown"""
        self.with_prompt = True
        self.reading = False
        self._text: tuple[int, str] = (-1, "")

    def compose(self) -> Iterable[Widget]:
        yield Static(id="sample-state", markup=False)
        with Horizontal():
            groups = GroupList()
            groups.add_class("hide-narrow")
            yield groups
            yield TextView()

    def on_mount(self) -> None:
        self.show()

    def tick(self) -> None:
        def listed(steps: list[int]) -> None:
            before, self.steps = self.steps, steps
            if self.at_step is None and steps:
                self.open(steps[-1])
            elif before != steps:
                self.show_state()

        self.work(lambda: steps_of(self.directory), listed, "steps", unless_busy=True)

    def open(self, step: int) -> None:
        """Show a step; the same group and response of it where there are so many."""
        self.at_step, self.reading = step, True
        self.show_state()
        path = path_of(self.directory, step)

        def read(found: Step) -> None:
            self.found, self.reading = found, False
            self.group = max(0, min(self.group, len(found.groups) - 1))
            groups = self.query_one(GroupList)
            groups.groups = found.groups
            groups.refresh_rows(self.group)
            self.show()

        self.work(lambda: read_step(path, is_wanted), read, "groups")

    # What is shown.

    @property
    def current(self) -> tuple[Group, Response] | None:
        """The group and the response."""
        if not 0 <= self.group < len(self.found.groups):
            return None
        group = self.found.groups[self.group]
        self.response = max(0, min(self.response, len(group.responses) - 1))
        return group, group.responses[self.response]

    def show(self) -> None:
        """Read the current response's text and show it."""
        self.show_state()
        current = self.current
        view = self.query_one(TextView)
        if current is None or self.at_step is None:
            words = EMPTY if not self.steps else "" if self.reading else "\nNo response of this step can be read."
            view.show([(words, "")])
            return
        group, response = current
        path, as_markdown, width = path_of(self.directory, self.at_step), self.rendered, view.size.width

        def read() -> tuple[str, list[Strip] | None]:
            text = read_text(path, response.place)
            return text, markdown(text, width) if as_markdown and width > 1 else None

        def shown(found: tuple[str, list[Strip] | None]) -> None:
            text, strips = found
            parts = self._parts(group, response)
            if strips is None:
                view.show([*parts, (text, "")])
            else:
                view.show(parts, lambda columns: strips if columns == width else markdown(text, columns))

        self.work(read, shown, "response")

    def _parts(self, group: Group, response: Response) -> list[Part]:
        style = "green" if response.correct else "red"
        parts = [
            (f"{'✓' if response.correct else '✗'} {rewarded(response)}", style),
            (judged(group, response, self.at_step), ""),
        ]
        if self.with_prompt:
            parts += [("", ""), (f"prompt (z hides it): {group.problem}", "bold dim"), (group.prompt, "dim")]
        return [*parts, ("", ""), (f"response{' as Markdown' if self.rendered else ''}", "bold dim")]

    def show_state(self) -> None:
        """The line above: where one is."""
        words = []
        if self.at_step is not None:
            words.append(f"step {self.at_step} of {self.steps[-1] if self.steps else '?'}")
        if self.reading:
            words.append("reading ...")
        elif (current := self.current) is not None:
            group, _ = current
            words.append(f"group {self.group + 1}/{len(self.found.groups)}")
            words.append(f"response {self.response + 1}/{len(group.responses)}, {group.right} right")
            if group.round > 0:
                words.append(f"round {group.round + 1}")
        if self.found.trouble:
            words.insert(1, f"! {self.found.trouble}")
        self.query_one("#sample-state", Static).update(data(line("   ".join(words))))

    # Keys.

    def action_step(self, by: int) -> None:
        if self.at_step in self.steps:
            place = self.steps.index(self.at_step) + by
            if 0 <= place < len(self.steps):
                self.open(self.steps[place])
        elif self.steps:
            self.open(self.steps[-1])

    def action_go(self) -> None:
        def answered(words: str | None) -> None:
            if words and words.strip().isdecimal() and self.steps:
                wanted = int(words.strip()[:12])
                self.open(min(self.steps, key=lambda step: abs(step - wanted)))

        if self.steps:
            self.app.push_screen(
                Ask(f"Which step? {self.steps[0]} to {self.steps[-1]}.", "", str(self.steps[-1])), answered
            )

    def action_group(self, by: int) -> None:
        wanted = max(0, min(self.group + by, len(self.found.groups) - 1))
        if wanted != self.group:
            self._to(wanted)
            self.query_one(GroupList).cursor = wanted

    def _to(self, group: int) -> None:
        self.group, self.response = group, 0
        self.show()

    @on(VirtualList.Moved)
    def _cursor_moved(self, event: VirtualList.Moved) -> None:
        event.stop()
        if event.index != self.group:
            self._to(event.index)

    def action_response(self, by: int) -> None:
        current = self.current
        if current is None:
            return
        wanted = self.response + by
        if 0 <= wanted < len(current[0].responses):
            self.response = wanted
            self.show()

    def action_markdown(self) -> None:
        self.rendered = not self.rendered
        self.show()

    def action_prompt(self) -> None:
        self.with_prompt = not self.with_prompt
        self.show()
