"""What is installed, read from source text: listing components imports none of them.

Importing them would be less code, but a listing would run the code of packages that nobody selected, and wait for what they
import: with a single one that imports torch, 3.5 s in place of 0.3 s.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dapoctl import hookspecs
from dapoctl.components.read_source import Found, bases, find

if TYPE_CHECKING:
    from dapoctl.components.catalog import Catalog, Entry

UNREADABLE = (OSError, SyntaxError, ValueError, LookupError, ImportError, RecursionError)


@dataclass(frozen=True, slots=True)
class Summary:
    """A component at a glance."""

    name: str
    distribution: str
    version: str
    stages: tuple[str, ...]
    purpose: str
    """First paragraph of the class docstring"""
    problem: str = ""
    """Why the source could not be read"""
    wraps: tuple[str, ...] = ()
    """Those of `stages` where it only changes what another component gives"""
    hidden: str = ""
    """Why its stages, or some of them, are not to be seen without importing it"""


@dataclass(frozen=True, slots=True)
class RecipeSummary:
    """A recipe at a glance."""

    name: str
    distribution: str
    version: str
    components: tuple[str, ...]
    """What it adds to `base`"""
    base: str | None
    purpose: str
    problem: str = ""
    """Why the source could not be read"""


def summarize(entry: Entry) -> Summary:
    """Read the component's class from its source without running it."""
    origin = (entry.name, entry.distribution, entry.version)
    module, _, attribute = entry.value.rpartition(":")
    if not module:
        return Summary(*origin, (), "", f"its entry point `{entry.value}` is not of the form package.module:Class")
    try:
        found = find(module, attribute)
        if found is None:
            raise LookupError(f"no class {attribute} in it")
        if isinstance(found.node, ast.FunctionDef):
            return Summary(*origin, (), "", f"`{attribute}` is a function, not a class derived from dapoctl.Component")
        if not isinstance(found.node, ast.ClassDef):
            return Summary(*origin, (), "", hidden=f"`{attribute}` is made by a call, not by a class statement")
        hooks, unseen = _hooks(found)
    except UNREADABLE as error:
        return Summary(*origin, (), "", _problem(error))
    stages = tuple(name for name in hookspecs.stages() if name in hooks)
    wraps = tuple(name for name in stages if hooks[name])
    purpose = first_paragraph(ast.get_docstring(found.node) or "")
    hidden = f"its base `{unseen}` is not in any source" if unseen else ""
    return Summary(*origin, stages, purpose, _misfit(found.node), wraps, hidden)


def summarize_recipe(entry: Entry) -> RecipeSummary:
    """Read a recipe, `NAME = Recipe(...)` with literal arguments, from its source without running it."""
    try:
        module, _, attribute = entry.value.rpartition(":")
        found = find(module, attribute)
        call = getattr(found.node, "value", None) if found else None
        if not isinstance(call, ast.Call):
            raise LookupError(f"no {attribute} = Recipe(...) in it")
        arguments = {item.arg: ast.literal_eval(item.value) for item in call.keywords if item.arg}
    except UNREADABLE as error:
        return RecipeSummary(entry.name, entry.distribution, entry.version, (), None, "", _problem(error))
    components, base = tuple(arguments.get("components", ())), arguments.get("base")
    return RecipeSummary(
        entry.name, entry.distribution, entry.version, components, base, str(arguments.get("purpose", ""))
    )


def first_paragraph(docstring: str) -> str:
    """The first paragraph of `docstring` on one line."""
    return " ".join(inspect.cleandoc(docstring).partition("\n\n")[0].split())


def providers_of(stage: str, catalog: Catalog) -> list[str]:
    """Names of the installed components that provide `stage`."""
    found = {entry.name: summarize(entry) for entry in catalog.entries()}
    return [name for name, item in found.items() if stage in item.stages and stage not in item.wraps]


def _problem(error: Exception) -> str:
    return f"source cannot be read ({type(error).__name__}: {error})"


def _misfit(node: ast.ClassDef) -> str:
    """How the class's own methods disagree with the hooks of this version, or an empty string."""
    known = hookspecs.stages()
    for item in node.body:
        if not isinstance(item, ast.FunctionDef):
            continue
        if _is_marked(item) and item.name not in known:
            return f"`{item.name}` is a @hookimpl, but there is no such hook"
        if item.name in known and not _is_marked(item):
            return f"`{item.name}` has the name of a hook but no @hookimpl"
        if item.name in known:
            allowed = inspect.signature(known[item.name]).parameters
            strange = [argument.arg for argument in item.args.args[1:] if argument.arg not in allowed]
            if strange:
                return f"`{item.name}` takes `{strange[0]}`, which the hook does not have: made for another dapoctl?"
    return ""


def _is_marked(node: ast.FunctionDef) -> bool:
    return any("hookimpl" in ast.unparse(mark) for mark in node.decorator_list)


def _hooks(found: Found) -> tuple[dict[str, bool], str]:
    """The hooks that a class and its bases implement, each with whether as a wrapper; and a base that is not to be seen."""
    assert isinstance(found.node, ast.ClassDef)
    hooks: dict[str, bool] = {}
    unseen = ""
    for written, base in bases(found):
        if base is None or not isinstance(base.node, ast.ClassDef):
            unseen = unseen or written
            continue
        more, behind = _hooks(base)
        hooks, unseen = hooks | more, unseen or behind
    for item in found.node.body:
        if isinstance(item, ast.FunctionDef) and _is_marked(item):
            hooks[item.name] = any("wrapper=True" in ast.unparse(mark) for mark in item.decorator_list)
    return hooks, unseen
