"""Config: what is it, and what is not as usual?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.tui.keys import key
from dapoctl.tui.run.pane import Pane, ShownRun
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.text_view import TextPage
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.configuration import Line, read_configuration
from dapoctl.views.text import data, line

MARKS = {"changed": "*", "unlike": "≠"}
STYLES = {"heading": "bold", "changed": "bold", "unlike": "bold yellow"}


class ConfigLines(VirtualList):
    """The page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Line] = []

    def count(self) -> int:
        return len(self.found)

    def row(self, index: int, width: int) -> Text:  # noqa: ARG002
        each = self.found[index]
        text = Text(f"{MARKS.get(each.kind, ' ')} ", end="")
        text.append(line(each.text), STYLES.get(each.kind, ""))
        return text.append(f"   # {line(each.note)}" if each.note else "", "dim not bold")


class ConfigPane(Pane):
    """The resolved configuration, components, command line, commit, machine."""

    LEADS = "ConfigLines"
    DEFAULT_CSS = "ConfigPane #config-state { height: 1; color: $text-muted; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("d", "only", "Only what differs", "config.only"),
        key("y", "copy", "Copy the command line", "config.copy", show=False),
    ]

    def __init__(self, session: Session, run: ShownRun, id: str) -> None:  # noqa: A002
        super().__init__(session, run, id)
        self.all: list[Line] = []
        self.only = False
        self._for: tuple[str | None, float] | None = None

    def compose(self) -> Iterable[Widget]:
        yield Static(id="config-state", markup=False)
        yield ConfigLines()

    def news(self) -> None:
        """Read again if the baseline is another one, or the run has come back."""
        wanted = (self.session.baseline, self.run.summary.created)
        if wanted == self._for:
            return
        self._for = wanted
        other = self.session.baseline
        baseline = self.session.root / other if other and other != self.directory.name else None
        self.work(lambda: read_configuration(self.directory, baseline), self._read, "config")

    def _read(self, found: list[Line]) -> None:
        self.all = found
        self.show()

    def show(self) -> None:
        """Draw the page."""
        differing = [each for each in self.all if each.kind in MARKS]
        page = self.query_one(ConfigLines)
        page.found = differing if self.only else self.all
        page.refresh_rows()
        words = [f"* {sum(each.kind == 'changed' for each in self.all)} not as by default"]
        if self.session.baseline and self.session.baseline != self.directory.name:
            words.append(f"≠ {sum(each.kind == 'unlike' for each in self.all)} not as in {self.session.baseline}")
        self.query_one("#config-state", Static).update(data(line("   ".join(words))))

    def action_only(self) -> None:
        self.only = not self.only
        self.show()

    def action_copy(self) -> None:
        lines = [each.text for each in self.all]
        if "made with" in lines:
            self.app.copy_to_clipboard(lines[lines.index("made with") + 1])
            self.app.notify("copied, where the terminal allows it", markup=False)

    @on(VirtualList.Chosen)
    def _row_chosen(self, event: VirtualList.Chosen) -> None:
        event.stop()
        each = self.query_one(ConfigLines).found[event.index]
        self.app.push_screen(TextPage("config", f"{each.text}\n{each.note}".strip()))
