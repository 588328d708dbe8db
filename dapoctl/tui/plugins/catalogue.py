"""What is installed, as rows of a list and as pages; listing imports no component, a page only its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from dapoctl import hookspecs
from dapoctl.components.catalog import Catalog, Entry, installed
from dapoctl.components.listing import RecipeSummary, Summary, first_paragraph, summarize, summarize_recipe
from dapoctl.errors import DapoctlError
from dapoctl.views import component
from dapoctl.views.text import line, safe

if TYPE_CHECKING:
    from dapoctl.views.parameters import Parameter

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


def _component(found: component.ComponentPage) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(), _text(_unwrapped(found.purpose))]
    parts += _section("stages")
    for stage in found.stages:
        many = "exactly one per run" if hookspecs.is_exclusive(stage) else "any number per run"
        doc = first_paragraph(hookspecs.stages()[stage].__doc__ or "")
        parts += [_text(f"  {stage} ({many})", "bold"), _indented(doc, 4)]
    parts += _section("parameters")
    for parameter in found.parameters:
        parts += [_signature(parameter), _indented(parameter.meaning, 4)]
    if found.parameters:
        key = f"{found.entry.name}.{found.parameters[0].name}"
        parts.append(_indented(f"`--set {key}=...`, or in the form of Launch (3)", style="dim"))
    else:
        parts.append(_indented("none"))
    if found.cls.paper:
        parts += [*_section("paper"), _indented(found.cls.paper)]
    if found.cls.differs:
        parts += [*_section("differs from it"), _indented(found.cls.differs)]
    return parts


def _recipe(name: str, catalog: Catalog) -> list[RenderableType]:
    found = component.recipe(name, catalog)
    parts: list[RenderableType] = [Text(), _text(found.recipe.purpose), *_section("components")]
    for part, stages, purpose in found.components:
        origin = "" if part in found.recipe.components or not found.recipe.base else f" (from {found.recipe.base})"
        parts += [_text(f"  {part}{origin}: {', '.join(stages)}", "bold"), _indented(purpose, 4)]
    if found.recipe.paper:
        parts += [*_section("paper"), _indented(found.recipe.paper)]
    return parts


def _signature(parameter: Parameter) -> Text:
    text = Text("  ")
    text.append(line(parameter.name), "bold")
    text.append(" required" if parameter.required else f" = {line(component.default_of(parameter))}", "cyan")
    return text.append(f"  {line(', '.join([parameter.type, *parameter.bounds]))}", "dim")


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
