"""Plugins: what do I have?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.console import RenderableType
from textual import on
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from dapoctl.tui.keys import key
from dapoctl.tui.plugins.catalogue import Item, everything, page, rows
from dapoctl.tui.plugins.plugin_list import PluginList
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.session import Session
from dapoctl.tui.widgets.dialogs import Ask, Dialog
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.text import data

SETTLED = 0.15
"""Seconds that the cursor must rest before a component is imported: whoever scrolls past imports none"""
EMPTY = """
No component fits `{text}`. `/` and an empty line show all.

A package that declares new entry points must be installed again to be seen (`pip install -e .`); a component in a
file of your own is named by its path: `dapoctl plugins show ./idea.py:MyIdea`.
"""


class Leaflet(Dialog[None]):
    """One component on the whole screen."""

    DEFAULT_CSS = """
    Leaflet { background: $background; }
    Leaflet > .frame { width: 1fr; max-width: 100%; height: 1fr; max-height: 100%; padding: 1 2; background: $background; }
    """
    FRAME = VerticalScroll
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,q,enter", "dismiss", "Back", "leaflet.back"),
        key("j", "scroll(1)", "Down", "leaflet.down", show=False),
        key("k", "scroll(-1)", "Up", "leaflet.up", show=False),
    ]

    def __init__(self, name: str, content: RenderableType) -> None:
        super().__init__()
        self.heading, self.content = name, content

    def body(self) -> Iterable[Widget]:
        yield Static(self.content, markup=False)

    def on_mount(self) -> None:
        self.query_one(".frame").border_subtitle = "esc back"

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)


class PluginsScreen(WorkbenchScreen):
    """Everything that is installed, and the page of what is under the cursor."""

    HEADING = "Plugins"
    QUESTION = "What do I have? Installed components by the stage of a training step that they serve, and recipes."
    BINDINGS: ClassVar[list[BindingType]] = [
        key("slash", "filter", "Filter", "plugins.filter"),
    ]
    DEFAULT_CSS = """
    PluginsScreen #plugins-list { width: 38; }
    PluginsScreen.-wide #plugins-list { width: 62; }
    PluginsScreen.-narrow #plugins-list { width: 1fr; }
    PluginsScreen #plugins-detail { width: 1fr; padding: 0 1; border-left: solid $panel; }
    PluginsScreen.-narrow #plugins-detail { display: none; }
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.filter_text = ""
        self.items: list[Item] = []
        self._pages: dict[Item, RenderableType] = {}
        self._opening: Item | None = None
        """Chosen, and to be opened as soon as it is read, whoever reads it"""

    def body(self) -> Iterable[Widget]:
        yield Static(id="plugins-head", classes="title", markup=False)
        with Horizontal(id="plugins"):
            with Vertical(id="plugins-list"):
                yield PluginList()
            with VerticalScroll(id="plugins-detail", can_focus=False):
                yield Static(id="plugins-page", markup=False)
        yield Static("\nReading what is installed ...", id="plugins-empty", markup=False)

    @property
    def table(self) -> PluginList:
        """The list."""
        return self.query_one(PluginList)

    def on_mount(self) -> None:
        self.query_one("#plugins").display = False
        self.work(everything, self._take, "plugins")

    def _take(self, items: list[Item]) -> None:
        self.items = items
        self._show()

    def _show(self) -> None:
        found = rows(self.items, self.filter_text)
        self.query_one("#plugins").display = bool(found)
        empty = self.query_one("#plugins-empty", Static)
        empty.display = not found
        empty.update(data(EMPTY.format(text=self.filter_text)))
        shown = {row.item for row in found if row.item}
        words = [f"{len(shown)} of {len(self.items)} fit `{self.filter_text}`" if self.filter_text else
                 f"{len(self.items)} components and recipes"]  # fmt: skip
        if broken := sum(bool(item.summary.problem) for item in self.items):
            words.append(f"{broken} broken")
        self.query_one("#plugins-head", Static).update(data("; ".join(words)))
        self.table.show(found)
        if found:
            self.table.focus()
        self._explain()

    @on(VirtualList.Moved)
    def _cursor_moved(self) -> None:
        if self.table.current() != self._opening:
            self._opening = None
        self._explain()

    def _explain(self) -> None:
        """Show the page of the item under the cursor; where there is no room for it, import nothing."""
        item, static = self.table.current(), self.query_one("#plugins-page", Static)
        if item is None or not self.query_one("#plugins-detail").display:
            return
        if item in self._pages:
            self._page(item)
            return
        static.update(data(f"{item.name}\n\n{item.summary.purpose}"))
        self.set_timer(SETTLED, lambda: self._settled(item))

    def _settled(self, item: Item) -> None:
        if self.table.current() == item and item not in self._pages:
            self._read(item)

    def _read(self, item: Item) -> None:
        items = self.items

        def read(content: RenderableType) -> None:
            self._pages[item] = content
            self._page(item)

        self.work(lambda: page(item, items), read, "page")

    def _page(self, item: Item) -> None:
        """Show a page that was read, beside the list and, when the item was chosen, on the whole screen."""
        if self.table.current() != item:
            return
        self.query_one("#plugins-page", Static).update(self._pages[item])
        self.query_one("#plugins-detail").scroll_home(animate=False)
        if self._opening == item:
            self._opening = None
            self.app.push_screen(Leaflet(item.name, self._pages[item]))

    @on(VirtualList.Chosen)
    def _row_chosen(self) -> None:
        item = self._opening = self.table.current()
        if item is None:
            return
        if item in self._pages:
            self._page(item)
        else:
            self._read(item)

    def action_filter(self) -> None:
        def answered(text: str | None) -> None:
            if text is not None:
                self.filter_text = text.strip()
                self._show()

        question = "Which components? Words of name, stage, package or purpose; empty shows all."
        self.app.push_screen(Ask(question, self.filter_text, "weigh_tokens"), answered)
