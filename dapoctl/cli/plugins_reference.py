"""`dapoctl plugins reference`: components, or hooks, as a page in Markdown."""

from pathlib import Path
from typing import Annotated

import typer

from dapoctl.cli.output import emit, warn
from dapoctl.views.text import plain


def reference(
    distribution: Annotated[
        str | None,
        typer.Argument(metavar="[PACKAGE]", help="Only the components of this installed package, by its name for pip."),
    ] = None,
    hooks: Annotated[
        bool, typer.Option("--hooks", help="List the hooks that a component can implement instead.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the page to FILE instead of printing it."),
    ] = None,
) -> None:
    """Print a Markdown page of every component: stage, paper, parameters. For a package's README, for example."""
    from dapoctl.components.catalog import installed
    from dapoctl.errors import StorageError
    from dapoctl.views.hook_reference import hook_page
    from dapoctl.views.reference import component_page, component_pages, select

    catalog = select(installed(), distribution)
    # A package that is asked for must load completely; of all installed ones, broken ones are left out.
    pages = component_pages(catalog, None if distribution else lambda problem: warn(str(problem)))
    text = "\n".join(hook_page(pages) if hooks else component_page(catalog, pages, distribution)) + "\n"
    if output is None:
        emit(text.rstrip("\n"))
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"`{output}` cannot be written: {error.strerror or error}") from error
    emit(f"wrote {plain(str(output))}")
