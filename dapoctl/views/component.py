"""`plugins show`: one component or recipe, for people and for programs."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dapoctl import hookspecs
from dapoctl.components.base import Component, provided_by, stages_of
from dapoctl.components.listing import first_paragraph, summarize
from dapoctl.components.none import NONE
from dapoctl.components.resolver import corrections_of, hooks_of, recipe_components
from dapoctl.config.toml_literals import literal
from dapoctl.views.parameters import Parameter, parameters_of, schema_of
from dapoctl.views.terminal import width
from dapoctl.views.text import one_line, plain

if TYPE_CHECKING:
    from dapoctl.components.catalog import Catalog, Entry
    from dapoctl.components.recipe import Recipe

READABLE = 100
"""Columns beyond which running text is hard to read."""


@dataclass(frozen=True)
class Item:
    """Something in a section of a page."""

    name: str = ""
    default: str = ""
    """Of a parameter: `required`, or `= ` and its default"""
    kind: str = ""
    """Of a parameter: its type and bounds"""
    text: str = ""

    @property
    def head(self) -> str:
        """What stands before its text."""
        return f"{self.name} {self.default}   ({self.kind})" if self.kind else self.name


@dataclass(frozen=True)
class Section:
    """A part of a page, the same in a terminal and in the terminal UI."""

    name: str
    """What it is about, in one word or a few"""
    title: str
    """What it is about, as `plugins show` says it"""
    items: Sequence[Item]


@dataclass(frozen=True)
class ComponentPage:
    """What there is to say about a component."""

    entry: Entry
    cls: type[Component]
    stages: tuple[str, ...]
    parameters: list[Parameter]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "kind": "component",
            "name": self.entry.name,
            **self.entry.describe(),
            "purpose": self.purpose,
            "paper": self.cls.paper,
            "differs": self.cls.differs,
            "stages": [
                {
                    "name": stage,
                    "exclusive": hookspecs.is_exclusive(stage),
                    "wrapper": self.wraps(stage),
                    "meaning": _meaning(stage),
                }
                for stage in self.stages
            ],
            "parameters": [asdict(parameter) for parameter in self.parameters],
            "schema": schema_of(self.cls),
        }

    def wraps(self, stage: str) -> bool:
        """Whether the component only changes what others give for `stage`."""
        return stage not in provided_by(self.cls)

    def how_many(self, stage: str) -> str:
        """How many components of a run may serve `stage` as this one does."""
        if self.wraps(stage):
            return "changes what another component gives"
        return "exactly one per run" if hookspecs.is_exclusive(stage) else "any number per run"

    @property
    def purpose(self) -> str:
        """The class's own docstring in full."""
        return inspect.cleandoc(vars(self.cls).get("__doc__") or "")

    @property
    def example_key(self) -> str:
        """A parameter as `--set` calls it; empty if there is none."""
        return f"{self.entry.name}.{self.parameters[0].name}" if self.parameters else ""

    def sections(self) -> list[Section]:
        """What there is to say besides its purpose, in the order of its page."""
        stages = [Item(f"{stage} ({self.how_many(stage)})", text=_meaning(stage)) for stage in self.stages]
        return [
            Section("stages", "Stages", stages),
            Section("parameters", self._parameters_title(), list(map(_item, self.parameters))),
            *_texts(("paper", "Paper", self.cls.paper), ("differs from it", "Where it differs", self.cls.differs)),
        ]

    def _parameters_title(self) -> str:
        if not self.parameters:
            return "No parameters."
        key, name = one_line(self.example_key), one_line(self.entry.name)
        return f"Parameters (`--set {key}=...`, or a table [{name}] in a TOML file)"

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [one_line(self.entry.name), "", *_paragraphs(self.purpose)]
        return [*lines, *_section_lines(self.sections()), "", "From", *_origin(self.entry)]


@dataclass(frozen=True)
class RecipePage:
    """What there is to say about a recipe."""

    name: str
    recipe: Recipe
    entry: Entry
    components: list[tuple[str, tuple[str, ...], str]]
    """Name, stages, purpose of each component, the base's included"""
    corrections: list[tuple[str, tuple[str, ...], str]]
    """The same of those that are added where the engine's distribution is not the trainer's"""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "kind": "recipe",
            "name": self.name,
            **self.entry.describe(),
            "purpose": self.recipe.purpose,
            "paper": self.recipe.paper,
            "base": self.recipe.base,
            "adds": list(self.recipe.components),
            "components": [
                {"name": name, "stages": list(stages), "purpose": purpose} for name, stages, purpose in self.components
            ],
            "corrections": [name for name, _, _ in self.corrections],
        }

    def sections(self) -> list[Section]:
        """What there is to say besides its purpose, in the order of its page."""
        items = []
        for name, stages, purpose in self.components:
            origin = "" if name in self.recipe.components or not self.recipe.base else f" (from {self.recipe.base})"
            items.append(Item(f"{name}{origin}: {', '.join(stages)}", text=purpose))
        corrections = [Item(f"{name}: {', '.join(stages)}", text=purpose) for name, stages, purpose in self.corrections]
        return [
            Section("components", "Components", items),
            *([Section("corrections", "Added where the engine differs", corrections)] if corrections else []),
            *_texts(("paper", "Paper", self.recipe.paper)),
        ]

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"recipe {one_line(self.name)} (`--recipe {one_line(self.name)}`)", "", *_wrap(self.recipe.purpose, 0)]
        return [*lines, *_section_lines(self.sections()), "", "From", *_origin(self.entry)]


def component(name: str, catalog: Catalog) -> ComponentPage:
    """Import the component called `name` and describe it.

    Raises:
        PluginError: there is none, or it is broken.
    """
    return describe(catalog.find(name))


def describe(entry: Entry) -> ComponentPage:
    """Import the component of `entry` and describe it.

    Raises:
        PluginError: it is broken.
    """
    cls = entry.load()
    hooks_of(entry, cls)
    return ComponentPage(entry, cls, stages_of(cls), parameters_of(cls))


def recipe(name: str, catalog: Catalog) -> RecipePage:
    """Describe the recipe called `name` with the components that it stands for.

    Raises:
        PluginError: there is none, or one of its components is missing or broken.
    """

    def parts(names: Sequence[str]) -> list[tuple[str, tuple[str, ...], str]]:
        summaries = [summarize(catalog.find(part)) for part in names]
        return [(item.name, item.stages or item.wraps, item.purpose) for item in summaries]

    entry = next(entry for entry in catalog.recipe_entries() if entry.name == name)
    components, corrections = recipe_components(name, catalog), corrections_of(name, [], catalog)
    return RecipePage(name, catalog.recipe(name), entry, parts(components), parts(corrections))


def _meaning(stage: str) -> str:
    return first_paragraph(hookspecs.stages()[stage].__doc__ or "")


def _item(parameter: Parameter) -> Item:
    default = "required" if parameter.required else f"= {default_of(parameter)}"
    return Item(parameter.name, default, ", ".join([parameter.type, *parameter.bounds]), parameter.meaning)


def _texts(*sections: tuple[str, str, str]) -> list[Section]:
    """Sections of one text each, of those that have one."""
    return [Section(name, title, [Item(text=text)]) for name, title, text in sections if text]


def _section_lines(sections: Sequence[Section]) -> list[str]:
    lines = []
    for section in sections:
        lines += ["", section.title]
        for item in section.items:
            lines += [f"  {one_line(item.head)}"] if item.head else []
            lines += _wrap(item.text, 6 if item.head else 2)
    return lines


def default_of(parameter: Parameter) -> str:
    """A parameter's default as it is typed."""
    return NONE if parameter.default is None else literal(parameter.default)


def _origin(entry: Entry) -> list[str]:
    if entry.sha256:
        return [f"  {plain(entry.value)}", f"  sha256 {entry.sha256}"]
    return [f"  {plain(entry.distribution)} {plain(entry.version)}, {plain(entry.value)}"]


def _paragraphs(docstring: str) -> list[str]:
    """Paragraphs wrapped anew, indented parts (examples, lists) as they are."""
    lines: list[str] = []
    for block in docstring.split("\n\n"):
        running = not any(line.startswith((" ", ">>>", "- ", "|")) for line in block.splitlines())
        lines += ["", *(_wrap(block, 0) if running else [plain(line) for line in block.splitlines()])]
    return lines[1:]


def _wrap(text: str, indent: int) -> list[str]:
    return [" " * indent + line for line in textwrap.wrap(one_line(text), min(width(), READABLE) - indent)]
