"""What the resolver makes of a choice. For a worker thread: it imports components and reads files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dapoctl.components.catalog import Catalog, installed
from dapoctl.components.resolver import Chosen, base_of, gather, stage_problems
from dapoctl.config.load import Layers
from dapoctl.config.resolve import OBSERVERS, Resolved, resolve
from dapoctl.errors import DapoctlError
from dapoctl.evaluation.inputs import input_problems
from dapoctl.models import default_config
from dapoctl.tui.launch.form.choice import Choice, nested
from dapoctl.tui.launch.form.fields import Sheet, run_sheet, sheet_of

S = TypeVar("S")
T = TypeVar("T")
SOURCE = "the form"
ROLES = ("task", "engine")
"""Keys that name a component by themselves"""


@dataclass(frozen=True)
class Verdict:
    """What there would be, and what speaks against it."""

    base: tuple[str, ...] = ()
    """Names of the recipe's components, before others took their places"""
    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    """The run's components, as far as they can be told, by name"""
    words: Mapping[str, str] = field(default_factory=dict)
    """The component's name by the word of `--plugins` that asked for it"""
    sheets: tuple[Sheet, ...] = ()
    model: str = ""
    usual: Mapping[str, Any] = field(default_factory=dict)
    """Run defaults that the model brings"""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    resolved: Resolved | None = None


def examine(choice: Choice, catalog: Catalog | None = None) -> Verdict:
    """Resolve `choice`; whatever a component raises becomes a problem in words."""
    catalog = catalog or installed()
    problems: list[str] = []
    usual: dict[str, Any] = _attempt(problems, {}, _usual, choice.model)
    choice.usual[choice.model] = usual
    base: dict[str, Chosen] = _attempt(problems, {}, base_of, choice.recipe, choice.plugins, catalog)
    chosen, words = _gather(choice, catalog, problems)
    found = [_attempt(problems, None, sheet_of, name, item.cls) for name, item in chosen.items()]
    sheets = [run_sheet(), *(sheet for sheet in found if sheet is not None)]
    problems += stage_problems(chosen, catalog) if chosen else []
    resolved = None if problems else _attempt(problems, None, resolve, layers_of(choice, sheets), catalog)
    if resolved is not None:
        problems += _attempt(problems, [], input_problems, resolved.config, resolved.pipeline)
    return Verdict(
        tuple(base),
        chosen,
        words,
        tuple(sheets),
        choice.model,
        usual,
        tuple(dict.fromkeys(problems)),
        resolved.warnings if resolved else (),
        resolved,
    )


def layers_of(choice: Choice, sheets: Sequence[Sheet]) -> Layers:
    """The choice as the resolver takes it: the values themselves, not their spelling in a command line."""
    layers = Layers()
    values = nested(choice.settings(sheets))
    layers.add({**values, "recipe": choice.recipe, "plugins": list(choice.plugins)}, SOURCE)
    return layers


def _usual(model: str) -> dict[str, Any]:
    return default_config(model)[0]


def _gather(choice: Choice, catalog: Catalog, problems: list[str]) -> tuple[dict[str, Chosen], dict[str, str]]:
    """The components, as far as they can be had, and the name of each that a word of `--plugins` asked for."""
    known = {*catalog.recipes()} - {*catalog.names()}
    asked = [word for word in choice.plugins if not word.startswith("-") and word not in known]
    roles = [str(choice.value(of)) for of in run_sheet().fields if of.key in ROLES]
    names = {word: _attempt(problems, "", _loaded, word, catalog) for word in [*asked, *roles, *OBSERVERS]}
    extra = [name for name in [*roles, *OBSERVERS] if names[name]]
    there = [word for word in choice.plugins if names.get(word, word)]
    found = _attempt(problems, None, gather, choice.recipe, there, extra, catalog)
    if found is None:
        # A component that is left out and was not there: said already.
        there = [word for word in there if not word.startswith("-")]
        found = _attempt([], dict[str, Chosen](), gather, choice.recipe, there, extra, catalog)
    return found, {word: names[word] for word in asked if names[word]}


def _loaded(word: str, catalog: Catalog) -> str:
    """The name of the component that a word asks for, once its class is there."""
    entry = catalog.find(word)
    entry.load()
    return entry.name


def _attempt(problems: list[str], otherwise: S, function: Callable[..., T], *arguments: Any) -> S | T:
    try:
        return function(*arguments)
    except DapoctlError as error:
        problems.append(str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (third parties' code, whatever it does)
        problems.append(f"{type(error).__name__}: {error}".rstrip(": "))
    return otherwise
