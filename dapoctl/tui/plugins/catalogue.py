"""What is installed, as rows of a list and as pages; listing imports no component, a page only its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from dapoctl import hookspecs
from dapoctl.components.catalog import Catalog, Entry, installed
from dapoctl.components.listing import RecipeSummary, Summary, summarize, summarize_recipe
from dapoctl.errors import DapoctlError
from dapoctl.views import component
from dapoctl.views.text import line, safe

RECIPES, BROKEN, NO_STAGE = "recipes", "broken", "no stage"


@dataclass(frozen=True)
class Item:
    """A component or recipe that is installed."""

    entry: Entry
    summary: Summary | RecipeSummary

    @property
    def name(self) -> str:
        """Its name."""
        return self.entry.name

    @property
    def package(self) -> str:
        """Distribution and version."""
        return f"{self.entry.distribution} {self.entry.version}".strip()

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that a component serves; none for a recipe."""
        return self.summary.stages if isinstance(self.summary, Summary) else ()

    def fits(self, words: Sequence[str]) -> bool:
        """Whether every one of the lower-case `words` is in what is known of it."""
        summary = self.summary
        kind = " ".join(summary.stages) if isinstance(summary, Summary) else f"recipe {' '.join(summary.components)}"
        text = f"{self.name} {self.package} {kind} {summary.purpose} {summary.problem}".lower()
        return all(word in text for word in words)


@dataclass(frozen=True)
class Row:
    """A line of the list: a heading, or an item under it."""

    heading: str
    item: Item | None = None
    again: bool = False
    """Whether the item stands under an earlier heading already"""


def everything() -> list[Item]:
    """Every component and recipe of this environment."""
    catalog = installed()
    return [
        *(Item(entry, summarize(entry)) for entry in catalog.entries()),
        *(Item(entry, summarize_recipe(entry)) for entry in catalog.recipe_entries()),
    ]


def rows(items: Sequence[Item], text: str = "") -> list[Row]:
    """Items under the stages that they serve, in the order of a training step; recipes, and what is broken."""
    fitting = [item for item in items if item.fits(text.lower().split())]
    whole = [item for item in fitting if not item.summary.problem]
    groups: dict[str, list[Item]] = {
        stage: sorted((item for item in whole if stage in item.stages), key=lambda item: item.stages[0] != stage)
        for stage in hookspecs.stages()
    }
    groups[NO_STAGE] = [item for item in whole if isinstance(item.summary, Summary) and not item.stages]
    groups[RECIPES] = [item for item in whole if isinstance(item.summary, RecipeSummary)]
    groups[BROKEN] = [item for item in fitting if item.summary.problem]
    return [
        row
        for heading, found in groups.items()
        if found
        for row in (
            Row(heading),
            *(Row(heading, item, heading in item.stages and heading != item.stages[0]) for item in found),
        )
    ]


def meaning(heading: str) -> str:
    """How many of a stage there are in a run; what the other headings mean."""
    if heading in hookspecs.stages():
        return "one" if hookspecs.is_exclusive(heading) else "any"
    return {RECIPES: "for --recipe", BROKEN: "fail when used"}.get(heading, "no hook")


def page(item: Item, items: Sequence[Item]) -> RenderableType:
    """All that there is to say about an item; imports it, so this belongs into a thread. What fails is part of the page."""
    parts: list[RenderableType] = [_text(item.name, "bold")]
    count = Counter((other.name, type(other.summary)) for other in items)[item.name, type(item.summary)]
    if count > 1:
        parts.append(_text(f"\nProvided by {count} packages, so a run cannot use it; uninstall one.", "bold red"))
    try:
        if item.summary.problem:
            parts += [Text(), _text(f"✗ {item.summary.problem}", "red")]
        elif isinstance(item.summary, Summary):
            parts += _component(component.describe(item.entry))
        else:
            parts += _recipe(item.name, installed())
    except Exception as error:  # noqa: BLE001 (whatever a plugin does when it is imported)
        words = str(error) if isinstance(error, DapoctlError) else f"{type(error).__name__}: {error}"
        parts += [Text(), _text(item.summary.purpose), Text(), _text(f"✗ {words}", "red")]
    return Group(*parts, *_section("from"), _indented(f"{item.package}\n{item.entry.value}"))


def _component(page: component.ComponentPage) -> list[RenderableType]:
    key = page.example_key
    hint = _indented(f"`--set {key}=...`, or in the form of Launch (3)", style="dim") if key else _indented("none")
    return [Text(), _text(_unwrapped(page.purpose)), *_sections(page.sections(), {"parameters": hint})]


def _recipe(name: str, catalog: Catalog) -> list[RenderableType]:
    page = component.recipe(name, catalog)
    return [Text(), _text(page.recipe.purpose), *_sections(page.sections(), {})]


def _sections(sections: Sequence[component.Section], hints: Mapping[str, RenderableType]) -> list[RenderableType]:
    """Every section of a page, some of them with a hint at the end."""
    parts: list[RenderableType] = []
    for section in sections:
        parts += _section(section.name)
        for item in section.items:
            parts += [_head(item), _indented(item.text, 4)] if item.name else [_indented(item.text)]
        parts += [hints[section.name]] if section.name in hints else []
    return parts


def _head(item: component.Item) -> Text:
    if not item.kind:
        return _text(f"  {item.name}", "bold")
    text = Text("  ").append(line(item.name), "bold").append(f" {line(item.default)}", "cyan")
    return text.append(f"  {line(item.kind)}", "dim")


def _section(title: str) -> list[RenderableType]:
    return [Text(), Text(title.upper(), "dim")]


def _text(text: str, style: str = "") -> Text:
    return Text(safe(text), style=style)


def _indented(text: str, by: int = 2, style: str = "") -> RenderableType:
    return Padding(_text(text, style), (0, 0, 0, by))


def _unwrapped(docstring: str) -> str:
    """Paragraphs on one line each, so that the screen can wrap them; indented parts, examples and lists as they are."""
    blocks = docstring.split("\n\n")
    return "\n\n".join(
        block
        if any(each.startswith((" ", ">>>", "- ", "|")) for each in block.splitlines())
        else " ".join(block.split())
        for block in blocks
    )
