"""A new component's files: made from a template, and never written over existing ones."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import re
from pathlib import Path

from dapoctl import __all__ as public_names
from dapoctl import __version__
from dapoctl.authoring.names import Names
from dapoctl.authoring.stages import Stage
from dapoctl.authoring.texts import GITIGNORE, PYPROJECT, README
from dapoctl.components.listing import first_paragraph
from dapoctl.errors import StorageError, UserError

TEMPLATES = "dapoctl.authoring.templates"
PLACEHOLDER = "Idea"
LIBRARIES = {"numpy": "numpy>=1.26", "pydantic": "pydantic>=2.10"}
"""Packages that templates may import besides dapoctl and the standard library, as requirements; torch comes with dapoctl."""


def package_files(names: Names, stage: Stage) -> dict[str, str]:
    """The text of every file of an installable package, by its path."""
    component = component_source(names, stage)
    description = describe(component, names)
    values = {
        "component": names.component,
        "cls": names.cls,
        "package": names.package,
        "distribution": names.distribution,
        "stage": stage.name,
        "description": description,
        "version": __version__,
        "requirements": "".join(f', "{LIBRARIES[name]}"' for name in _imported(component) if name in LIBRARIES),
        "run": run_command(names.component, stage),
    }
    source, module = f"src/{names.package}", description.replace("\\", "\\\\").replace('"""', "'''")
    return {
        "pyproject.toml": PYPROJECT.substitute(values | {"description": description.replace('"', "'")}),
        "README.md": README.substitute(values),
        ".gitignore": GITIGNORE,
        f"{source}/__init__.py": f'"""{module}"""\n',
        f"{source}/component.py": component,
        f"{source}/py.typed": "",
        f"tests/test_{names.component}.py": _test_source(names, stage),
    }


def component_source(names: Names, stage: Stage) -> str:
    """The module with the component alone.

    Raises:
        UserError: its class would have the name of another one that it uses.
    """
    template = _template("components", stage)
    used = {node.id for node in ast.walk(ast.parse(template)) if isinstance(node, ast.Name)}
    if names.cls in used or names.cls in public_names or hasattr(builtins, names.cls):
        raise UserError(f"the class `{names.cls}` would hide the one that it uses; choose a name that says more")
    return _named(template, names)


def run_command(component: str, stage: Stage) -> str:
    """The command line of a short run with `component`, a name or `path.py:Class`."""
    role = {"task": "--set task=", "engine": "--set engine="}.get(stage.template, "--plugins ")
    return f"dapoctl run {role}{component} --set steps=3"


def describe(source: str, names: Names) -> str:
    """The first sentence of the class's docstring in `source`."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    return first_paragraph(ast.get_docstring(classes[names.cls]) or "")


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write `files`, by their paths in `folder`; existing files are left alone.

    Raises:
        UserError: the folder is not empty, or is not a folder.
        StorageError: it cannot be written.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"`{folder}` is a file, so no folder of that name can be created; name another: NAME DIR")
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"folder `{folder}` is not empty, and nothing is overwritten; name another: NAME DIR")
        return [_write_new(folder / path, text) for path, text in files.items()]
    except OSError as error:
        raise StorageError(f"`{folder}` cannot be written: {error.strerror or error}") from error


def check_absent(path: Path) -> None:
    """Refuse to overwrite a file.

    Raises:
        UserError: it exists.
    """
    if path.exists():
        raise UserError(f"`{path}` already exists, and nothing is overwritten; choose another name or DIR")


def write_file(path: Path, text: str) -> Path:
    """Write a file that does not exist yet.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        return _write_new(path, text)
    except OSError as error:
        raise StorageError(f"`{path}` cannot be written: {error.strerror or error}") from error


def _write_new(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path


def _template(kind: str, stage: Stage) -> str:
    """The source of a template, which is read, not run: its imports may be slow."""
    spec = importlib.util.find_spec(f"{TEMPLATES}.{kind}.{stage.template}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def _test_source(names: Names, stage: Stage) -> str:
    """The test of the component; it imports it from its package, last, in isort's order."""
    lines = _named(_template("tests", stage), names).splitlines()
    lines.remove(f"from {TEMPLATES}.components.{stage.template} import {names.cls}")
    last = max(index for index, line in enumerate(lines) if line.startswith(("import ", "from ")))
    lines[last + 1 : last + 1] = ["", f"from {names.package}.component import {names.cls}"]
    return "\n".join(lines) + "\n"


def _named(source: str, names: Names) -> str:
    return re.sub(rf"\b{PLACEHOLDER}\b", names.cls, source)


def _imported(source: str) -> list[str]:
    """Top-level names of what `source` imports, sorted."""
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    return sorted(imported)
