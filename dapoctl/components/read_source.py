"""Classes read from source text, through the modules that they and their bases are imported from; nothing is run."""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEPTH = 16
"""Modules through which a name is followed at most"""
OURS = __name__.partition(".")[0]
PARSING = threading.RLock()
"""Held while components are imported or their source is parsed: pydantic reads the docstrings under fields with `ast`, whose
recursion counter is shared by all threads in Python 3.11, so that two at once can fail (python/cpython#106905)"""


@dataclass(frozen=True, slots=True)
class Definition:
    """The statement that defines a name, and the module it is in."""

    node: ast.stmt
    module: str


def find_definition(module: str, name: str, depth: int = DEPTH) -> Definition | None:
    """The statement that gives `name` its value: a class, an assignment, ...; None if it is not in the source.

    Raises:
        OSError, SyntaxError, ValueError, ImportError: a source cannot be read.
    """
    for node in reversed([*_statements(tree(module).body)]):
        if name not in _binds(node):
            continue
        if not isinstance(node, ast.ImportFrom):
            return Definition(node, module)
        origin = _origin(node, module)
        original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
        return find_definition(origin, original, depth - 1) if depth else None
    for node in tree(module).body:
        if depth and isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            definition = find_definition(_origin(node, module), name, depth - 1)
            if definition is not None:
                return definition
    return None


def bases(definition: Definition) -> Iterator[tuple[str, Definition | None]]:
    """The bases of a class, as it writes them; None for one without a source.

    `Component` and the standard library's are left out: they implement no hook.
    """
    assert isinstance(definition.node, ast.ClassDef)
    for base in definition.node.bases:
        written = ast.unparse(base)
        module, name = _origin_of(written.partition("[")[0], definition.module)
        head = module.partition(".")[0]
        if head in sys.stdlib_module_names or (head == OURS and name == "Component"):
            continue
        try:
            yield written, find_definition(module, name)
        except (OSError, SyntaxError, ValueError, ImportError):
            yield written, None


def tree(module: str) -> ast.Module:
    """The syntax tree of a module's source.

    Raises:
        OSError, SyntaxError, ValueError, ImportError: it cannot be read.
    """
    path = locate(module)
    return _parse(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _parse(path: Path, _modified: int) -> ast.Module:
    with PARSING, warnings.catch_warnings():
        # Warnings about a plugin's source do not concern the user who lists it.
        warnings.simplefilter("ignore")
        return ast.parse(path.read_bytes(), str(path))


def locate(module: str) -> Path:
    """The file of `module`; parents of a nested module are located, not imported.

    Raises:
        ImportError: there is no such module with a source.
    """
    head, *rest = module.split(".")
    spec = importlib.util.find_spec(head) if head else None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            spec = None
            break
        spec = importlib.machinery.PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ImportError(f"no module {module} with a source")
    return Path(spec.origin)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, including those in `if`, `try` and `with` at its top level."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            for name in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, name, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def _binds(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return {node.name}
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _origin(node: ast.ImportFrom, module: str) -> str:
    """The module that `from ... import` names, relative ones made absolute."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if locate(module).name == "__init__.py" else module.split(".")[:-1]
    parts = package[: len(package) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _origin_of(path: str, module: str) -> tuple[str, str]:
    """The module, and the name in it, of what `module` writes as `C`, `b.C` or `a.b.C`."""
    first, *rest = path.split(".")
    for node in _statements(tree(module).body):
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else []:
            if (alias.asname or alias.name.partition(".")[0]) != first:
                continue
            if isinstance(node, ast.ImportFrom):
                start = f"{_origin(node, module)}.{alias.name}"
            else:
                start = alias.name if alias.asname else first
            module_path, _, name = ".".join([start, *rest]).rpartition(".")
            return module_path, name
    return module, path
