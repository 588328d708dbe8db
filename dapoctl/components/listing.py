"""What is installed, read from source text: listing components imports none of them."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dapoctl import hookspecs

if TYPE_CHECKING:
    from dapoctl.components.catalog import Catalog, Entry

UNREADABLE = (OSError, SyntaxError, ValueError, LookupError, ImportError)


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
    try:
        body, attribute = _parse(entry)
        classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        if attribute not in classes:
            raise LookupError(f"no class {attribute} in it")
        node = classes[attribute]
    except UNREADABLE as error:
        return Summary(entry.name, entry.distribution, entry.version, (), "", _problem(error))
    hooks = _hooks(node, classes)
    stages = tuple(name for name in hookspecs.stages() if name in hooks)
    wraps = tuple(name for name in stages if hooks[name])
    purpose = first_paragraph(ast.get_docstring(node) or "")
    return Summary(entry.name, entry.distribution, entry.version, stages, purpose, wraps=wraps)


def summarize_recipe(entry: Entry) -> RecipeSummary:
    """Read a recipe, `NAME = Recipe(...)` with literal arguments, from its source without running it."""
    try:
        body, attribute = _parse(entry)
        call = next((node.value for node in body if attribute in _targets(node)), None)  # type: ignore[attr-defined]
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


def _parse(entry: Entry) -> tuple[list[ast.stmt], str]:
    module, _, attribute = entry.value.rpartition(":")
    return ast.parse(_source(module).read_bytes()).body, attribute


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _problem(error: Exception) -> str:
    return f"source cannot be read ({type(error).__name__}: {error})"


def _source(module: str) -> Path:
    """The file of `module`; parents of a nested module are located, not imported."""
    head, *rest = module.split(".")
    spec = importlib.util.find_spec(head)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            break
        spec = importlib.machinery.PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    if spec is None or spec.origin is None:
        raise ImportError(f"no module {module}")
    return Path(spec.origin)


def _hooks(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, bool]:
    """The hooks that a class implements, and whether as a wrapper."""
    found: dict[str, bool] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found |= _hooks(classes[base.id], classes)
    for item in node.body:
        marks = [ast.unparse(mark) for mark in item.decorator_list] if isinstance(item, ast.FunctionDef) else []
        if isinstance(item, ast.FunctionDef) and any("hookimpl" in mark for mark in marks):
            found[item.name] = any("wrapper=True" in mark for mark in marks)
    return found
