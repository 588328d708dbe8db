"""The structure that the code promises: what plugins may use, how long files are, what is documented."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

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


class Import(NamedTuple):
    """`from module import name`; `name` is empty for `import module`."""

    module: str
    name: str
    typing_only: bool
    line: int


def imports(path: Path) -> list[Import]:
    """Every import of a file, in functions too; relative ones made absolute."""
    return list(_imports(ast.parse(path.read_bytes()), _package(path), typing_only=False))


def _package(path: Path) -> list[str]:
    base = ROOT / "plugins" if ROOT / "plugins" in path.parents else ROOT
    return list(path.relative_to(base).parent.parts)


def _imports(node: ast.AST, package: list[str], typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(item.name, "", typing_only, child.lineno) for item in child.names)
        elif isinstance(child, ast.ImportFrom):
            head = package[: len(package) - child.level + 1] if child.level else []
            module = ".".join([*head, *([child.module] if child.module else [])])
            yield from (Import(module, item.name, typing_only, child.lineno) for item in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for inner in child.body:
                yield from _imports(ast.Module([inner], []), package, typing_only=True)
            for inner in child.orelse:
                yield from _imports(ast.Module([inner], []), package, typing_only)
        else:
            yield from _imports(child, package, typing_only)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_this_test_sees_the_code() -> None:
    assert len(CORE) > 15
    assert sorted(PLUGIN_PACKAGES) == [
        "dapoctl_curriculum",
        "dapoctl_dapo",
        "dapoctl_gkl",
        "dapoctl_grpo",
        "dapoctl_ratios",
        "dapoctl_trackers",
    ]
    seen = imports(ROOT / "plugins" / "dapoctl_dapo" / "losses.py")
    assert any(item[:3] == ("dapoctl_grpo.losses", "clipped_surrogate", False) for item in seen)
    assert any(item[:3] == ("torch", "Tensor", True) for item in seen)


def test_the_core_imports_no_plugin() -> None:
    for path in CORE:
        for item in imports(path):
            assert item.module.partition(".")[0] not in PLUGIN_PACKAGES, f"{relative(path)}:{item.line}"


def test_plugins_reach_the_core_through_its_public_names_only() -> None:
    import dapoctl

    for path in PLUGINS:
        for item in imports(path):
            if item.module.partition(".")[0] != "dapoctl":
                continue
            public = item.module == "dapoctl" and item.name in dapoctl.__all__
            config = item.module == "dapoctl.config" and item.typing_only
            assert public or config, f"{relative(path)}:{item.line} imports {item.module}.{item.name}"


def test_public_names_exist_and_are_sorted() -> None:
    import dapoctl

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
        ("dapoctl/config/schema.py", 'scorer: Literal["math", "dapo", "strict"] = "math"'),
        (
            "dapoctl/doctor/packages.py",
            'SHOWN = ("transformers", "datasets", "tensorboard", "safetensors", "math-verify")',
        ),
        (
            "dapoctl/evaluation/protocol.py",
            '(Protocol("dapo", 1.0, 0.7, 32), "32 responses at temperature 1, top_p 0.7, as DAPO is evaluated"),',
        ),
        ("dapoctl/tasks/scorers.py", '"dapo": "the public DAPO scorer\'s rule, for parity",'),
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
