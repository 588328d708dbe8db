"""`dapoctl plugins reference`: components, or hooks, as a page in Markdown."""

from pathlib import Path
from typing import Annotated

import typer

from dapoctl.cli.output import emit, warn
from dapoctl.views.text import plain


def reference(
    distribution: Annotated[
        str | None,
        typer.Argument(metavar="[PACKAGE]", help="Only what this installed package provides, by its name for pip."),
    ] = None,
    hooks: Annotated[bool, typer.Option("--hooks", help="The hooks that a component can implement, instead.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there; otherwise it is printed.")
    ] = None,
) -> None:
    """A page in Markdown on every component: stage, paper, parameters. For your package's README, say."""
    from dapoctl.components.catalog import installed
    from dapoctl.errors import StorageError
    from dapoctl.views.hook_reference import hook_page
    from dapoctl.views.reference import component_page, component_pages, select

    shelf = select(installed(), distribution)
    # A package that is asked for must be whole; others that are broken leave a gap.
    pages = component_pages(shelf, None if distribution else lambda problem: warn(str(problem)))
    text = "\n".join(hook_page(pages) if hooks else component_page(shelf, pages, distribution)) + "\n"
    if output is None:
        emit(text.rstrip("\n"))
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"`{output}` cannot be written: {error.strerror or error}") from error
    emit(f"wrote {plain(str(output))}")
