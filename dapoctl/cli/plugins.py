"""`dapoctl plugins`: what is installed, and what each component does. `list` imports none of them."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from dapoctl.cli.options import Json
from dapoctl.cli.output import command_group, emit, emit_json
from dapoctl.cli.plugins_check import check
from dapoctl.cli.plugins_new import new
from dapoctl.cli.plugins_reference import reference

group = command_group("Look at the installed components and recipes, and check them.")


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group.command("check")(check)
    group.command("new")(new)
    group.command("reference")(reference)
    app.add_typer(group, name="plugins")


@group.command("list")
def list_(json: Json = False) -> None:
    """List every component by its stage of the training step, and the recipes."""
    from dapoctl.components.catalog import installed
    from dapoctl.components.listing import summarize, summarize_recipe
    from dapoctl.views.component_list import list_lines

    catalog = installed()
    components = [summarize(entry) for entry in catalog.entries()]
    recipes = [summarize_recipe(entry) for entry in catalog.recipe_entries()]
    if json:
        emit_json({"components": [asdict(one) for one in components], "recipes": [asdict(one) for one in recipes]})
    else:
        emit("\n".join(list_lines(components, recipes)))


@group.command("show")
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A component or recipe, or a component in a file: `./idea.py:MyIdea`.")
    ],
    json: Json = False,
) -> None:
    """Show a component: its stages, parameters and origin. For a recipe: its components."""
    from dapoctl.components.catalog import installed
    from dapoctl.views import component

    catalog = installed()
    is_recipe = name in catalog.recipes()
    pages: list[Any] = []
    if name in catalog.names() or not is_recipe:
        pages.append(component.component(name, catalog))
    if is_recipe:
        pages.append(component.recipe(name, catalog))
    if json:
        first, *rest = [page.as_dict() for page in pages]
        emit_json(first | {"recipe": rest[0]} if rest else first)
    else:
        emit("\n\n".join("\n".join(page.lines()) for page in pages))
