"""Launch: what do I try next?"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from dapoctl.components.catalog import installed
from dapoctl.errors import ConfigError
from dapoctl.runs.jobs.control import NothingFreeError
from dapoctl.tui.actions.runs import Sent
from dapoctl.tui.keys import key
from dapoctl.tui.launch.form import parts as catalogue
from dapoctl.tui.launch.form.command_line import WAYS
from dapoctl.tui.launch.form.parts import Part
from dapoctl.tui.launch.form_list import FormList
from dapoctl.tui.launch.form_pane import FormPane
from dapoctl.tui.launch.form_screen import LaunchForm
from dapoctl.tui.launch.launch_text import difference_words, verdict_text
from dapoctl.tui.launch.part_list import PartList
from dapoctl.tui.launch.start import parts_from, start
from dapoctl.tui.messages import OpenRun, ReadStore
from dapoctl.tui.widgets.dialogs import Ask, Confirm, Page
from dapoctl.tui.widgets.pick import Pick
from dapoctl.views.text import line


class LaunchScreen(LaunchForm):
    """Components, their parameters, and the run that comes of them."""

    HEADING = "Launch"
    QUESTION = (
        "What do I try next? Components by stage on the left (space checks, enter checks it alone), their parameters and the"
        " run's settings beside them, what speaks against it and the same as a command line below."
    )
    DEFAULT_CSS = """
    LaunchScreen #panes { height: 1fr; }
    LaunchScreen #parts { width: 30; }
    LaunchScreen #form { width: 1fr; }
    LaunchScreen #side { width: 46; height: 1fr; padding: 0 1; }
    LaunchScreen #about { height: 3; padding: 0 1; }
    LaunchScreen #verdict { height: auto; max-height: 3; padding: 0 1; }
    LaunchScreen #parent { height: 1; padding: 0 1; display: none; }
    LaunchScreen #parent.-shown { display: block; }
    LaunchScreen.-wide #parent.-shown { display: none; }
    LaunchScreen #line { height: auto; max-height: 3; padding: 0 1; background: $panel; }
    LaunchScreen.-wide #parts { width: 42; }
    LaunchScreen.-wide #about { height: 4; }
    LaunchScreen.-wide #verdict { max-height: 6; }
    LaunchScreen.-wide #line { max-height: 5; }
    LaunchScreen.-narrow #parts, LaunchScreen.-narrow #form { width: 1fr; }
    LaunchScreen.-narrow #form { display: none; }
    LaunchScreen.-narrow.-form #form { display: block; }
    LaunchScreen.-narrow.-form #parts { display: none; }
    LaunchScreen.-short .pane { border: none !important; }
    LaunchScreen.-short #about { display: none; }
    LaunchScreen.-short #verdict { max-height: 1; }
    LaunchScreen.-short #line { max-height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "start(False)", "Run now", priority=True, id="launch.run"),
        Binding("ctrl+e", "start(True)", "Queue", priority=True, id="launch.queue"),
        Binding("ctrl+y", "copy", "Copy line", priority=True, id="launch.copy"),
        key("slash", "find", "Search", "launch.find"),
        key("tab,shift+tab", "switch", "Other pane", "launch.switch", show=False),
        key("plus", "add", "Add a file", "launch.add", show=False),
        key("w", "way", "How the line runs it", "launch.way", show=False),
        key("v", "view", "All of it", "launch.view"),
        key("n", "anew", "Start over", "launch.anew", show=False),
    ]

    # Choosing.

    @on(PartList.Checked)
    def _part_checked(self, message: PartList.Checked) -> None:
        item = message.item
        if item.kind == "recipe":
            self._pick_recipe()
        elif item.part is not None:
            self._check(item.part, message.alone)
        elif item.kind == "word":
            self.choice.plugins.remove(item.title)
            self._changed()

    def _check(self, part: Part, alone: bool) -> None:
        on = catalogue.is_on(part, self.choice, self.verdict)
        if part.problem and not on:
            self.app.notify(part.problem, title=f"{line(part.name)} cannot be used", severity="error", markup=False)
            return
        catalogue.check(part, [*self.catalogue, *self.files], self.choice, self.verdict, alone)
        if not part.role and catalogue.is_asked(part, self.choice):
            self.form.list.opened.add(part.name)
        self._changed()

    def _pick_recipe(self) -> None:
        names = installed().recipes()
        current = names.index(self.choice.recipe) if self.choice.recipe in names else 0

        def picked(places: list[int] | None) -> None:
            if places:
                self.choice.recipe = names[places[0]]
                self._changed()

        self.app.push_screen(Pick("Which components to start from?", names, cursor=current), picked)

    @on(FormList.Changed)
    def _field_changed(self) -> None:
        self._changed()

    @on(FormPane.Judged)
    def _value_judged(self) -> None:
        self._draw()

    def action_add(self) -> None:
        """A component from a file, or by its name."""

        def answered(text: str | None) -> None:
            if text and text.strip():
                word = text.strip()
                self.work(lambda: (word, parts_from(word)), self._added, "add")

        question = "Which component? A file of yours, or the name of a component or a recipe."
        self.app.push_screen(Ask(question, placeholder="./my_idea.py:MyIdea"), answered)

    def _added(self, found: tuple[str, list[Part]]) -> None:
        word, parts = found
        problem = next((part.problem for part in parts if part.problem), "")
        if problem:
            self.show_error(ConfigError(problem))
            return
        self.clear_errors()
        known = {part.word for part in [*self.catalogue, *self.files]}
        self.files += [part for part in parts if part.word not in known]
        if word not in self.choice.plugins:
            self.choice.plugins.append(word)
        self.form.list.opened |= {part.name for part in parts}
        self._changed()
        self.part_list.find(word)

    def action_anew(self) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.take(None, {})

        self.app.push_screen(Confirm("Start over with the defaults?"), answered)

    # Moving about.

    def action_switch(self) -> None:
        to_form = not self.form.list.has_focus
        self.set_class(to_form, "-form")
        # At once: what is typed next is meant for it.
        self.set_focus(self.form.list if to_form else self.part_list)

    def action_find(self) -> None:
        """Among the settings, or from the checklist among the components."""
        if self.focused is not self.part_list:
            self.add_class("-form")
            self.form.find()
            return

        def answered(text: str | None) -> None:
            if text and not self.part_list.find_next(text):
                self.app.notify(f"no component here is called like `{text}`", severity="warning", markup=False)

        self.app.push_screen(
            Ask("Which component?", placeholder="a part of its name; tab goes to the settings"), answered
        )

    # The line, and the run.
    def action_way(self) -> None:
        self.way = WAYS[(WAYS.index(self.way) + 1) % len(WAYS)]
        self._draw()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.line)
        self.app.notify("copied; v shows all of the line, should your terminal not take it", markup=False)

    def action_view(self) -> None:
        words = difference_words(self.difference) if self.difference else []
        pages = [self.line, verdict_text(self.verdict, self.left_out, pending=False, fit=self.fit).plain]
        if self.parent_run is not None:
            pages.append("\n".join([f"cloned from {self.parent_run.id}", *(words or ["no difference yet"])]))
        if self.verdict.resolved is not None:
            pages.append(self.verdict.resolved.as_toml())
        self.app.push_screen(Page("the run as described", "\n\n".join(pages)))

    def action_start(self, queue: bool) -> None:
        """Make the run and send it off."""
        if self.refuse_readonly("start"):
            return
        if not self.form.finish():
            self.app.notify(f"not started: {self.form.refused}", severity="warning", markup=False)
            return
        self._start(queue)

    def _start(self, queue: bool) -> None:
        choice, root, place = self.choice.copy(), self.session.root, self.place
        self.clear_errors()

        def sent(found: Sent | NothingFreeError) -> None:
            if isinstance(found, Sent):
                self.app.notify(found.words, markup=False)
                self.session.store.include(found.run)
                self.post_message(ReadStore())
                self.post_message(OpenRun(found.run))
                return
            why = str(found).partition(";")[0]
            self.app.push_screen(Confirm(f"{why}.\nLet it wait in the queue?"), answered)

        def answered(yes: bool | None) -> None:
            if yes:
                self._start(queue=True)

        self.work(lambda: start(choice, root, place, queue), sent, "start")
