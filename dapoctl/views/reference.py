"""The components of a package in Markdown, by the stage that they serve."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dapoctl import hookspecs
from dapoctl.components.base import provided_by
from dapoctl.errors import PluginError, nearest
from dapoctl.views import component
from dapoctl.views.markdown import code, codes, paragraphs, prose, table

if TYPE_CHECKING:
    from dapoctl.components.catalog import Catalog, Entry
    from dapoctl.views.component import ComponentPage, Item, RecipePage


@dataclass(frozen=True)
class Selection:
    """A catalog seen through the package that provides things; everything can still be found."""

    catalog: Catalog
    components: tuple[Entry, ...]
    recipes: tuple[Entry, ...]


def select(catalog: Catalog, distribution: str | None) -> Selection:
    """What `distribution` provides; everything when there is none named.

    Raises:
        PluginError: it provides nothing, or is not installed.
    """
    everything = Selection(catalog, tuple(catalog.entries()), tuple(catalog.recipe_entries()))
    if distribution is None:
        return everything

    def is_wanted(entry: Entry) -> bool:
        return _canonical(entry.distribution) == _canonical(distribution)

    selection = Selection(
        catalog, tuple(filter(is_wanted, everything.components)), tuple(filter(is_wanted, everything.recipes))
    )
    if not selection.components and not selection.recipes:
        known = sorted({_canonical(entry.distribution) for entry in (*everything.components, *everything.recipes)})
        raise PluginError(
            f"no installed package `{distribution}` has components.{nearest(_canonical(distribution), known)}"
            f" Those that do: {', '.join(known)}"
        )
    return selection


def component_pages(selection: Selection, on_error: Callable[[PluginError], None] | None = None) -> list[ComponentPage]:
    """What there is to say about every component of the selection, each of which is imported.

    Args:
        on_error: called with the error of each one that is broken

    Raises:
        PluginError: one is broken, and there is no `on_error`.
    """
    pages = []
    for entry in selection.components:
        try:
            pages.append(component.component(entry.name, selection.catalog))
        except PluginError as error:
            if on_error is None:
                raise
            on_error(error)
    return pages


def serving(stage: str, pages: Sequence[ComponentPage], show: Callable[[str], str] = code) -> str:
    """The components that serve `stage`; of those that only change what others give, that they do."""
    providers = [page for page in pages if stage in page.stages]
    return ", ".join(
        f"{show(page.entry.name)}{'' if stage in provided_by(page.cls) else ' (wraps)'}" for page in providers
    )


def component_page(selection: Selection, pages: Sequence[ComponentPage], distribution: str | None) -> list[str]:
    """Lines of the page on the components of `pages`, and on the recipes of the selection."""
    command = f"dapoctl plugins reference {distribution or ''}".strip()
    lines = [
        f"# Components{f' of {distribution}' if distribution else ''}",
        "",
        f"Written by `{command}` from the classes themselves; change what is said there.",
        "",
        *_overview(pages),
    ]
    for stage in hookspecs.stages():
        here = [page for page in pages if page.stages[0] == stage]
        if here:
            lines += ["", f"## `{stage}`", "", *_stage(stage)]
            lines += [line for page in here for line in _component(page)]
    recipes = [component.recipe(entry.name, selection.catalog) for entry in selection.recipes]
    if recipes:
        lines += ["", "## Recipes"]
        lines += [line for page in recipes for line in _recipe(page)]
    return lines


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _overview(pages: Sequence[ComponentPage]) -> list[str]:
    rows = []
    for stage in hookspecs.stages():
        names = serving(stage, pages, lambda name: f"[`{name}`](#{name})")
        if names:
            rows.append([code(stage), "one" if hookspecs.is_exclusive(stage) else "any", names])
    return table(["stage", "how many per run", "components"], rows)


def _stage(stage: str) -> list[str]:
    many = (
        "Exactly one per run." if hookspecs.is_exclusive(stage) else "Any number per run; their order does not matter."
    )
    return [*paragraphs(hookspecs.stages()[stage].__doc__ or ""), "", many]


def _component(page: ComponentPage) -> list[str]:
    lines = ["", f"### `{page.entry.name}`", "", *paragraphs(page.purpose)]
    if len(page.stages) > 1:
        lines += ["", f"Stages: {codes(page.stages)}"]
    sections = {section.name: section.items for section in page.sections()}
    for title, name in (("Paper", "paper"), ("Differs", "differs from it")):
        lines += [line for item in sections.get(name, ()) for line in ("", f"**{title}**: {prose(item.text)}")]
    if parameters := sections["parameters"]:
        lines += ["", *table(["parameter", "type", "default", "meaning"], map(_parameter, parameters))]
    return lines


def _parameter(item: Item) -> list[str]:
    default = code(item.default.removeprefix("= ")) if item.default.startswith("= ") else item.default
    return [code(item.name), code(item.kind), default, prose(item.text)]


def _recipe(page: RecipePage) -> list[str]:
    lines = ["", f"### `--recipe {page.name}`", "", prose(page.recipe.purpose), ""]
    added = codes(page.recipe.components)
    lines.append(f"{code(page.recipe.base)} with {added}" if page.recipe.base else added)
    if page.corrections:
        lines += [
            "",
            f"Where the engine's distribution is not the trainer's: {codes(name for name, *_ in page.corrections)} as well",
        ]
    return [*lines, "", f"**Paper**: {prose(page.recipe.paper)}"] if page.recipe.paper else lines
