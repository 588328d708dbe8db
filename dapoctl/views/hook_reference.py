"""The hooks in Markdown: what each is given, what it returns, how results are combined, and the data that flows."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapoctl import (
    Batch,
    Completion,
    Component,
    Counts,
    Engine,
    Problem,
    PromptPool,
    Refill,
    RunInfo,
    Sampling,
    Score,
    Tokens,
    hookspecs,
)
from dapoctl.components.listing import first_paragraph
from dapoctl.views.markdown import code, codes, paragraphs, prose, table
from dapoctl.views.reference import serving

if TYPE_CHECKING:
    from dapoctl.views.component import ComponentPage

COMBINED = {
    "shape_rewards": "summed, each term logged as `reward/<name>`",
    "filter_groups": "anded",
    "plan_refill": "the strictest: fewest rounds, shortest wait, gravest end",
    "mask_responses": "anded",
    "regularize": "summed, each penalty logged as `policy/<name>`",
    "regularize_vocab": "summed, each penalty logged as `policy/<name>`",
    "on_run_start": "every observer is told",
    "on_step_end": "every observer is told",
    "on_run_end": "every observer is told",
}
"""What becomes of the results of a hook with any number of providers."""
DATA: tuple[type, ...] = (
    Component,
    Batch,
    Counts,
    Tokens,
    Problem,
    Score,
    PromptPool,
    Refill,
    RunInfo,
    Engine,
    Sampling,
    Completion,
)


def hook_page(pages: Sequence[ComponentPage]) -> list[str]:
    """Lines of the page, with the components of `pages` beside the hooks that they serve."""
    hooks = hookspecs.stages()
    _, *legend = inspect.cleandoc(hookspecs.__doc__ or "").split("\n\n")
    lines = [
        "# Hooks",
        "",
        "Written by `dapoctl plugins reference --hooks` from `dapoctl/hookspecs.py` and the classes themselves.",
        "",
        *(line for block in legend for line in (*paragraphs(block), "")),
        *table(
            ["hook", "given", "returns", "how many", "combined", "served by"],
            ([f"[`{name}`](#{name})", *_summary(name, hook), serving(name, pages)] for name, hook in hooks.items()),
        ),
    ]
    for name, hook in hooks.items():
        lines += ["", f"## `{name}`", "", "```python", _signature(name, hook), "```", ""]
        lines += [*paragraphs(hook.__doc__ or ""), "", f"{_many(name)}: {how_combined(name)}."]
        lines += ["", f"A start: `dapoctl plugins new NAME --stage {name}`"]
    return [*lines, "", "# What hooks are given and return", *(line for cls in DATA for line in _data(cls))]


def how_combined(hook: str) -> str:
    """What becomes of the results of `hook`."""
    return "its result is taken" if hookspecs.is_exclusive(hook) else COMBINED[hook]


def _many(hook: str) -> str:
    return "Exactly one" if hookspecs.is_exclusive(hook) else "Any number"


def _summary(name: str, hook: Callable[..., Any]) -> list[str]:
    signature = inspect.signature(hook)
    returns = signature.return_annotation
    many = "one" if hookspecs.is_exclusive(name) else "any"
    return [codes(signature.parameters), code(returns), many, how_combined(name)]


def _signature(name: str, hook: Callable[..., Any]) -> str:
    signature = inspect.signature(hook)
    arguments = ", ".join(["self", *(f"{item.name}: {item.annotation}" for item in signature.parameters.values())])
    return f"@hookimpl\ndef {name}({arguments}) -> {signature.return_annotation}"


def _data(cls: type) -> list[str]:
    node = _class_node(cls)
    lines = ["", f"## `{cls.__name__}`", "", *paragraphs(ast.get_docstring(node) or "")]
    fields = list(_fields(node))
    if fields:
        lines += ["", *table(["field", "type", "meaning"], fields)]
    methods = list(_methods(node))
    return [*lines, "", *methods] if methods else lines


def _class_node(cls: type) -> ast.ClassDef:
    source = Path(inspect.getsourcefile(import_module(cls.__module__)) or "").read_text(encoding="utf-8")
    return next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)


def _fields(node: ast.ClassDef) -> Iterator[list[str]]:
    """Name, type with default, and the docstring below, of each public field."""
    for place, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and not item.target.id.startswith("_"):
            after = node.body[place + 1] if place + 1 < len(node.body) else None
            text = after.value if isinstance(after, ast.Expr) else None
            meaning = text.value if isinstance(text, ast.Constant) else ""
            value = ast.unparse(item.value) if item.value is not None else ""
            default = f" = {value}" if value and not value.startswith(("field(", "PrivateAttr(")) else ""
            yield [code(item.target.id), code(ast.unparse(item.annotation) + default), prose(str(meaning))]


def _methods(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            arguments = ast.unparse(item.args).removeprefix("self").removeprefix(", ")
            is_property = any(ast.unparse(mark) == "property" for mark in item.decorator_list)
            meaning = prose(first_paragraph(ast.get_docstring(item) or ""))
            yield f"- `{item.name}{'' if is_property else f'({arguments})'}`: {meaning}"
