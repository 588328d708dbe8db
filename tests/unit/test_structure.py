"""The structure that the code promises: what plugins may use, how long files are, what is documented."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import dapoctl
from dapoctl import hookspecs
from tests.support.places import ROOT

CORE = sorted((ROOT / "dapoctl").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
PLUGIN_PACKAGES = {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir() and path.name != "__pycache__"}

TOP_LEVEL = {
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "Makefile",
    "dapoctl",
    "plugins",
    "experiments",
    "tests",
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_plugin_package_is_under_the_import_contracts() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    assert {*settings["root_packages"]} == {"dapoctl", *PLUGIN_PACKAGES}
    (core,) = [contract for contract in settings["contracts"] if contract["name"] == "The core knows no plugin"]
    assert {*core["forbidden_modules"]} == PLUGIN_PACKAGES


def test_plugins_import_public_names_of_dapoctl() -> None:
    """That they import no module of it is a contract of import-linter."""
    names = [
        (relative(path), name.name)
        for path in PLUGINS
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.module == "dapoctl"
        for name in node.names
    ]
    assert len(names) > 30
    assert [(path, name) for path, name in names if name not in dapoctl.__all__] == []


def test_public_names_exist_and_are_sorted() -> None:
    assert dapoctl.__all__ == sorted(dapoctl.__all__)
    assert [name for name in dapoctl.__all__ if not hasattr(dapoctl, name)] == []


def algorithm_names() -> set[str]:
    """The components and recipes that live in the plugin packages."""
    points = [*metadata.entry_points(group="dapoctl.plugins"), *metadata.entry_points(group="dapoctl.recipes")]
    return {point.name for point in points if point.value.partition(".")[0] in PLUGIN_PACKAGES}


def literals(path: Path) -> list[tuple[str, str]]:
    """Every string literal that is no docstring, with its line as text."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.value, lines[node.lineno - 1].strip())
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


def test_the_core_knows_no_algorithm_by_name() -> None:
    names = algorithm_names()
    assert {"grpo", "clip_higher", "gkl", "dapo"} <= names
    found = [(relative(path), line) for path in CORE for text, line in literals(path) if text in names]
    # A protocol and a scorer are called after the paper that they come from, a Python package as its component; no code
    # decides by these names.
    assert found == [
        ("dapoctl/config/resolve.py", 'OBSERVERS = ("tensorboard",)'),
        ("dapoctl/config/schema.py", 'recipe: str = "grpo"'),
        (
            "dapoctl/config/schema.py",
            'scorer: Literal["math", "math_lenient", "dapo", "dapo_boxed", "strict"] = "math"',
        ),
        (
            "dapoctl/doctor/packages.py",
            'SHOWN = ("transformers", "datasets", "tensorboard", "safetensors", "math-verify")',
        ),
        (
            "dapoctl/evaluation/protocol.py",
            '(Protocol("dapo", 1.0, 0.7, 32), "32 responses at temperature 1, top_p 0.7, as DAPO is evaluated"),',
        ),
        (
            "dapoctl/tasks/scorers.py",
            '"dapo": "the public DAPO scorer\'s rule (verl\'s math_dapo of 2026-01), for parity",',
        ),
    ]


def test_every_hook_is_documented_and_takes_no_default() -> None:
    hooks = hookspecs.stages()
    assert len(hooks) > 10
    for name, hook in hooks.items():
        assert len(inspect.getdoc(hook) or "") > 20, name
        assert all(p.default is p.empty for p in inspect.signature(hook).parameters.values()), name


def test_files_are_short_and_documented() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in [*CORE, *PLUGINS]}
    assert [relative(path) for path, source in sources.items() if len(source.splitlines()) > 500] == []
    silent = [path for path, source in sources.items() if source and not ast.get_docstring(ast.parse(source))]
    assert [relative(path) for path in silent] == [], "no module docstring"


def test_shipped_components_are_documented() -> None:
    """`dapoctl plugins show` has something to say about every component and every parameter."""
    for point in metadata.entry_points(group="dapoctl.plugins"):
        if point.value.partition(".")[0] not in PLUGIN_PACKAGES:
            continue
        cls = point.load()
        assert "__doc__" in vars(cls), point.name
        for name, field in cls.model_fields.items():
            assert field.description, f"{point.name}.{name}"


def test_the_top_level_holds_only_what_the_layout_allows() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    names = {line.partition("/")[0].strip('"') for line in listing.stdout.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL
    assert "dapoctl" in names


def test_no_leftovers() -> None:
    """No notes to self in shipped code."""
    for path in [*CORE, *PLUGINS]:
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text(encoding="utf-8")), relative(path)


def test_the_map_names_files_that_exist_and_every_room() -> None:
    text = (ROOT / "dapoctl" / "README.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([\w./]+)`", text) if "/" in name or name.endswith((".py", ".toml"))}
    assert len(named) > 30
    folders = (ROOT, ROOT / "dapoctl")
    assert sorted(name for name in named if not any((folder / name).exists() for folder in folders)) == []
    rooms = {path.parent.name for path in (ROOT / "dapoctl").glob("*/__init__.py")}
    assert sorted(room for room in rooms if f"`{room}/`" not in text) == []
