"""`dapoctl plugins check`: test a component against the properties that a training step relies on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dapoctl.cli.options import Json
from dapoctl.cli.output import emit, emit_json
from dapoctl.views.terminal import colours, width
from dapoctl.views.text import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.components.base import Component
    from dapoctl.components.catalog import Catalog, Entry
    from dapoctl.testing import Failure, Result

READABLE = 120
"""Columns beyond which prose is hard to read"""
STYLES = {"ok": "green", "failed": "bold red", "not run": "yellow", "not applicable": "dim"}
SHORT_STATUS = {"not applicable": "n/a"}


def check(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME_OR_FILE", help="An installed component, or one in a file: `./idea.py:MyIdea`."),
    ],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Check it with this parameter instead of the default."),
    ] = None,
    no_step: Annotated[
        bool,
        typer.Option("--no-step", help="Skip the checks on the embedded model: the real training step, and engines."),
    ] = False,
    json: Json = False,
) -> None:
    """Check one component: shapes, odd batches, padding, order, seeds, gradients, state, a real step split in several ways.

    Exit code 0 if every property holds, 1 if one does not.
    """
    from dapoctl.components.catalog import installed

    entry = find(name, installed())
    cls = entry.load()
    parameters = parameters_from(override or [], entry.name, cls)
    results = _run_properties(cls, entry.name, parameters, not no_step)
    ok = not any(result.status in ("failed", "not run") for result in results)
    if json:
        emit_json(
            {"name": entry.name, **entry.describe(), "parameters": parameters, "ok": ok, "properties": rows(results)}
        )
    else:
        from dapoctl.views.tables import laid_out

        emit(laid_out(page(entry, results), min(width(), READABLE) if sys.stdout.isatty() else width()))
    raise typer.Exit(0 if ok else 1)


def find(name: str, catalog: Catalog) -> Entry:
    """The component called `name`, or in the file `name`.

    Raises:
        PluginError: there is no such component, or it is a recipe.
    """
    from dapoctl.components.resolver import recipe_components
    from dapoctl.errors import PluginError

    if name in catalog.recipes() and name not in catalog.names():
        parts = ", ".join(f"`dapoctl plugins check {part}`" for part in recipe_components(name, catalog))
        raise PluginError(f"`{name}` is a recipe; check its components: {parts}")
    return catalog.find(name)


def parameters_from(overrides: Sequence[str], name: str, cls: type[Component]) -> dict[str, Any]:
    """The parameters of `--set field=value` or `--set name.field=value`.

    Raises:
        ConfigError: the component has no such parameter, or does not allow the value.
    """
    from pydantic import ValidationError

    from dapoctl.config.load import COMMAND_LINE, Layers, parse_override
    from dapoctl.errors import ConfigError, validation_message

    layers = Layers()
    for text in overrides:
        values = parse_override(text)
        own = values.get(name)
        layers.add(own if isinstance(own, dict) and name not in cls.model_fields else values, COMMAND_LINE)
    try:
        cls(**layers.values)
    except ValidationError as error:
        if any(detail["loc"] and detail["loc"][0] in layers.values for detail in error.errors()):
            sources = {f"{name}.{key}": COMMAND_LINE for key in layers.sources}
            raise ConfigError(validation_message(error, cls, prefix=name, sources=sources)) from None
    except Exception:  # noqa: BLE001 (the check reports it)
        return layers.values
    return layers.values


def _run_properties(cls: type[Component], name: str, parameters: dict[str, Any], step: bool) -> list[Result]:
    from dapoctl.testing import examine

    results = []
    # What a component prints is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr), _progress() as say:
        say("checking")
        for result in examine(cls, name, parameters, step=step):
            say(f"checking, {result.name} {result.status}")
            results.append(result)
    return results


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    if not colours(sys.stderr):
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True, markup=False).status("") as status:
        yield status.update


def rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [
        {
            "property": result.name,
            "meaning": result.meaning,
            "status": result.status,
            "note": result.note,
            "failures": [asdict(failure) for failure in result.failures],
            "seconds": round(result.seconds, 3),
        }
        for result in results
    ]


def page(entry: Entry, results: Sequence[Result]) -> list[RenderableType]:
    """For people: every property, the failures, and a summary."""
    from rich.table import Table

    from dapoctl.views.tables import heading, text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("PROPERTY", "RESULT", ""):
        table.add_column(header, no_wrap=bool(header))
    for result in results:
        meaning = result.note if result.status in ("not applicable", "not run") else _meaning(result)
        dim = "dim" if result.status == "not applicable" else ""
        table.add_row(
            text(result.name, dim),
            text(SHORT_STATUS.get(result.status, result.status), STYLES[result.status]),
            text(meaning, dim),
        )
    parts: list[RenderableType] = [text(f"{entry.name}  {plain(entry.value)}"), "", table]
    for result in results:
        for failure in result.failures:
            parts += [heading(result.name), _failure(failure)]
    return [*parts, heading(_summary(results))]


def _meaning(result: Result) -> str:
    return f"{result.meaning} ({result.note})" if result.note else result.meaning


def _failure(failure: Failure) -> RenderableType:
    from rich.padding import Padding
    from rich.table import Table

    from dapoctl.views.tables import text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for key in ("hook", "case", "found", "fix"):
        if getattr(failure, key):
            grid.add_row(text(key, "dim"), text(getattr(failure, key)))
    return Padding(grid, (0, 0, 0, 2))


def _summary(results: Sequence[Result]) -> str:
    count = {status: sum(result.status == status for result in results) for status in STYLES}
    parts = [f"{count['ok']} properties hold"]
    parts += [f"{count['failed']} broken"] if count["failed"] else []
    parts += [f"{count['not run']} not run because of that"] if count["not run"] else []
    parts += [f"{count['not applicable']} not applicable"] if count["not applicable"] else []
    return ", ".join(parts)
