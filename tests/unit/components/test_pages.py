"""The pages on components and hooks that are made from the code."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Generator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from dapoctl import Component, hookimpl, hookspecs
from dapoctl.cli import main
from dapoctl.components.catalog import Catalog, Entry, installed
from dapoctl.errors import PluginError
from dapoctl.views.component import ComponentPage
from dapoctl.views.hook_reference import COMBINED, hook_page
from dapoctl.views.markdown import paragraphs, prose, table
from dapoctl.views.reference import component_page, component_pages, select
from tests.support.helpers import plugin_file
from tests.support.places import ROOT

PLUGINS = ROOT / "plugins"


def section(page: str, heading: str) -> str:
    """The text below `heading`, up to the next heading."""
    (found,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize(("name", "options"), [("README.md", []), ("HOOKS.md", ["--hooks"])])
def test_pages_are_up_to_date(name: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["dapoctl", "plugins", "reference", "dapoctl", *options, "-o", f"{tmp_path}/{name}"]
    )
    assert main() == 0
    assert (PLUGINS / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8"), (
        f"plugins/{name} is not what the code says: `make pages`"
    )


def test_every_component_of_this_distribution_and_no_other_is_on_the_page() -> None:
    page = (PLUGINS / "README.md").read_text(encoding="utf-8")
    points = metadata.distribution("dapoctl").entry_points.select(group="dapoctl.plugins")
    headings = re.findall(r"^### `([a-z0-9_]+)`$", page, re.MULTILINE)
    assert sorted(headings) == sorted(point.name for point in points)
    for point in points:
        cls = point.load()
        said = section(page, f"`{point.name}`")
        for text in (cls.paper, cls.differs):
            assert prose(text) in said
        for name, field in cls.model_fields.items():
            assert f"| `{name}` |" in said
            assert prose(field.description).replace("|", r"\|") in said


def test_every_hook_is_on_the_page_with_its_arguments() -> None:
    """Names and arguments as Python's own parser finds them in the file of specifications."""
    page = (PLUGINS / "HOOKS.md").read_text(encoding="utf-8")
    tree = ast.parse(Path(hookspecs.__file__).read_text(encoding="utf-8"))
    marked = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("hookspec" in ast.unparse(mark) for mark in node.decorator_list)
    ]
    assert len(marked) > 10
    for node in marked:
        said = section(page, f"`{node.name}`")
        assert f"def {node.name}({', '.join(['self', ast.unparse(node.args)]).removesuffix(', ')})" in said
        exclusive = any("firstresult" in ast.unparse(mark) for mark in node.decorator_list)
        assert ("Exactly one" in said) == exclusive
        assert ("Any number" in said) != exclusive
        assert f"plugins new NAME --stage {node.name}" in said


def test_how_results_are_combined_is_said_for_each_hook_that_combines() -> None:
    assert set(COMBINED) == {name for name in hookspecs.stages() if not hookspecs.is_exclusive(name)}


def test_a_page_for_a_package_of_somebody_else() -> None:
    mine = Entry("my_clip", "dapoctl_grpo.losses:Clip", "My_Ideas", "1.0")
    catalog = Catalog([*installed().entries(), mine], [])
    shelf = select(catalog, "my-ideas")
    page = "\n".join(component_page(shelf, component_pages(shelf), "my-ideas"))
    assert re.findall(r"^### .*", page, re.MULTILINE) == ["### `my_clip`"]
    assert "| `policy_loss` | one | [`my_clip`](#my_clip) |" in page
    hooks = "\n".join(hook_page(component_pages(shelf)))
    assert "| `my_clip` |" in hooks
    assert "clip_higher" not in hooks
    with pytest.raises(PluginError, match=r"no installed package `my-idea` has components. Did you mean `my-ideas`\?"):
        select(catalog, "my-idea")


def test_a_broken_component_of_others_leaves_a_gap() -> None:
    broken = Entry("lost", "dapoctl_grpo.losses:Nowhere", "my-ideas", "1.0")
    catalog = Catalog([*installed().entries(), broken], [])
    told: list[PluginError] = []
    found = component_pages(select(catalog, None), told.append)
    assert len(found) == len(installed().entries())
    assert [str(error).split()[:2] for error in told] == [["component", "`lost`"]]
    with pytest.raises(PluginError, match="component `lost`"):
        component_pages(select(catalog, "my-ideas"))


def test_a_wrapper_is_told_from_a_provider() -> None:
    class Bounded(Component):
        """Bounds."""

        @hookimpl(wrapper=True)
        def estimate_advantages(self) -> Generator[None, Any, Any]:
            return (yield)

    entry = Entry("bounded", "ideas:Bounded")
    pages = [ComponentPage(entry, Bounded, ("estimate_advantages",), [])]
    assert "| its result is taken | `bounded` (wraps) |" in "\n".join(hook_page(pages))


def test_show_says_where_a_component_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plugin_file(
        tmp_path,
        """
        from typing import ClassVar

        from dapoctl import Component, hookimpl

        class Half(Component):
            paper: ClassVar[str] = "Somebody 2024, Eq. 3"
            differs: ClassVar[str] = "Half of it, not a third."

            @hookimpl
            def shape_rewards(self, batch):
                return -batch.rewards / 2
        """,
    )
    for options in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["dapoctl", "plugins", "show", str(path), *options])
        assert main() == 0
        out = capsys.readouterr().out
        if options:
            assert json.loads(out)["differs"] == "Half of it, not a third."
        else:
            assert "Paper\n  Somebody 2024, Eq. 3\n\nWhere it differs\n  Half of it, not a third.\n" in out


def test_text_is_not_taken_for_markup() -> None:
    assert prose("a *b* <c> `*d* <e>`\n  f") == r"a \*b\* \<c> `*d* <e>` f"
    assert table(["a"], [["x | y"]]) == ["| a |", "|---|", r"| x \| y |"]
    assert paragraphs("One\nline.\n\nExample:\n    >>> 1 < 2\n    True") == [
        "One line.", "", "Example:", "", "```", ">>> 1 < 2\nTrue", "```",
    ]  # fmt: skip


def test_a_page_that_cannot_be_written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dapoctl", "plugins", "reference", "-o", "no/such/folder.md"])
    assert main() == 1
    assert "`no/such/folder.md` cannot be written: No such file or directory" in capsys.readouterr().err
