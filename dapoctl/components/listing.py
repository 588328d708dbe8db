"""What is installed, read from source text: listing components imports none of them.

Importing them would be less code, but a listing would run the code of packages that the user did not select, and wait for
their imports: 3.5 s instead of 0.3 s if one of them imports torch.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dapoctl import hookspecs
from dapoctl.components.read_source import Definition, bases, find_definition

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
    """Those of `stages` where it only changes another component's result"""
    hidden: str = ""
    """Why some or all of its stages are unknown until it is imported"""


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
        definition = find_definition(module, attribute)
        if definition is None:
            raise LookupError(f"no class {attribute} in it")
        if isinstance(definition.node, ast.FunctionDef):
            return Summary(*origin, (), "", f"`{attribute}` is a function, not a class derived from dapoctl.Component")
        if not isinstance(definition.node, ast.ClassDef):
            return Summary(*origin, (), "", hidden=f"`{attribute}` is made by a call, not by a class statement")
        hooks, unknown_base = _hooks(definition)
    except UNREADABLE as error:
        return Summary(*origin, (), "", _problem(error))
    stages = tuple(name for name in hookspecs.stages() if name in hooks)
    wraps = tuple(name for name in stages if hooks[name])
    purpose = first_paragraph(ast.get_docstring(definition.node) or "")
    hidden = f"its base `{unknown_base}` is not in any source" if unknown_base else ""
    return Summary(*origin, stages, purpose, _hook_mismatch(definition.node), wraps, hidden)


def summarize_recipe(entry: Entry) -> RecipeSummary:
    """Read a recipe, `NAME = Recipe(...)` with literal arguments, from its source without running it."""
    try:
        module, _, attribute = entry.value.rpartition(":")
        definition = find_definition(module, attribute)
        call = getattr(definition.node, "value", None) if definition else None
        if not isinstance(call, ast.Call):
            raise LookupError(f"no {attribute} = Recipe(...) in it")
        arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
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
    summaries = {entry.name: summarize(entry) for entry in catalog.entries()}
    return [name for name, summary in summaries.items() if stage in summary.stages and stage not in summary.wraps]


def _problem(error: Exception) -> str:
    return f"source cannot be read ({type(error).__name__}: {error})"


def _hook_mismatch(node: ast.ClassDef) -> str:
    """How the class's own methods mismatch the hooks of this version, or an empty string."""
    known = hookspecs.stages()
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        if _is_marked(method) and method.name not in known:
            return f"`{method.name}` is a @hookimpl, but there is no such hook"
        if method.name in known and not _is_marked(method):
            return f"`{method.name}` has the name of a hook but no @hookimpl"
        if method.name in known:
            allowed = inspect.signature(known[method.name]).parameters
            unknown = [argument.arg for argument in method.args.args[1:] if argument.arg not in allowed]
            if unknown:
                return f"`{method.name}` takes `{unknown[0]}`, which the hook does not have: another dapoctl version?"
    return ""


def _is_marked(node: ast.FunctionDef) -> bool:
    return any("hookimpl" in ast.unparse(mark) for mark in node.decorator_list)


def _hooks(definition: Definition) -> tuple[dict[str, bool], str]:
    """The hooks of a class and its bases, each with whether it is a wrapper; and the first base whose source is missing."""
    assert isinstance(definition.node, ast.ClassDef)
    hooks: dict[str, bool] = {}
    unknown_base = ""
    for written, base in bases(definition):
        if base is None or not isinstance(base.node, ast.ClassDef):
            unknown_base = unknown_base or written
            continue
        inherited, further = _hooks(base)
        hooks, unknown_base = hooks | inherited, unknown_base or further
    for member in definition.node.body:
        if isinstance(member, ast.FunctionDef) and _is_marked(member):
            hooks[member.name] = any("wrapper=True" in ast.unparse(mark) for mark in member.decorator_list)
    return hooks, unknown_base
