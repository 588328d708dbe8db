"""Where components come from: files of the user's own, and installed packages."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from dapoctl import PluginError
from dapoctl.components.catalog import Catalog, Entry, installed
from dapoctl.components.listing import providers_of, summarize
from dapoctl.components.resolver import build, choose
from tests.support.helpers import make_batch, plugin_file

EXTRA = ("arithmetic", "hf")


def names(plugins: Sequence[str]) -> list[str]:
    return list(choose("grpo", plugins, EXTRA))


SHAPER = """
    from dapoctl import Batch, Component, hookimpl

    class LengthBudget(Component):
        '''Subtract `rate` for every token.'''

        rate: float = 0.5
        '''Reward lost per token.'''

        @hookimpl
        def shape_rewards(self, batch: Batch):
            return -self.rate * batch.lengths
"""


# Files of the user's own


@pytest.mark.parametrize("suffix", ["", ":LengthBudget"])
def test_file_plugin(tmp_path: Path, suffix: str) -> None:
    path = plugin_file(tmp_path, SHAPER)
    pipeline = build(choose("grpo", [f"{path}{suffix}"], EXTRA), {"length_budget": {"rate": 0.25}})
    terms = pipeline.each("shape_rewards", batch=make_batch([[1.0, 0.0]], lengths=[4, 8]))
    assert terms["length_budget"].tolist() == [-1.0, -2.0]
    assert pipeline.entries["length_budget"].describe() == {
        "entry_point": f"{path.resolve()}:LengthBudget",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_file_plugin_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_file(tmp_path, SHAPER)
    monkeypatch.chdir(tmp_path)
    assert "length_budget" in names(["./my_idea.py:LengthBudget"])
    assert "length_budget" in names(["my_idea.py"])


def test_edited_file_is_read_anew(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, SHAPER)
    before = choose("grpo", [str(path)], EXTRA)["length_budget"]
    plugin_file(tmp_path, SHAPER.replace("0.5", "0.7"))
    after = choose("grpo", [str(path)], EXTRA)["length_budget"]
    assert before.entry.sha256 != after.entry.sha256
    assert (before.cls().model_dump(), after.cls().model_dump()) == ({"rate": 0.5}, {"rate": 0.7})


def test_file_plugin_replaces_the_recipe_s_provider(tmp_path: Path) -> None:
    path = plugin_file(
        tmp_path,
        """
        from dapoctl import Component, hookimpl

        class Raw(Component):
            @hookimpl
            def estimate_advantages(self, batch):
                return batch.rewards
        """,
    )
    assert names([str(path)]) == ["uniform", "clip", "sequence_mean", "raw", *EXTRA]


def test_two_files_with_a_class_of_one_name(tmp_path: Path) -> None:
    first, second = plugin_file(tmp_path, SHAPER, "first.py"), plugin_file(tmp_path, SHAPER, "second.py")
    with pytest.raises(PluginError, match=r"two components are called `length_budget`: .*first\.py.*second\.py"):
        names([str(first), str(second)])


def test_file_with_several_components_asks_for_one(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, SHAPER + SHAPER.replace("LengthBudget", "Other"))
    with pytest.raises(PluginError, match=r"holds LengthBudget, Other; name one \(`.*my_idea\.py:LengthBudget`\)"):
        names([str(path)])
    assert "other" in names([f"{path}:Other"])


def test_file_without_a_component(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, "from dapoctl import Component\nx = 1\n")
    with pytest.raises(PluginError, match=r"plugin file `.*my_idea\.py` holds no dapoctl\.Component"):
        names([str(path)])


def test_file_without_the_named_class(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, SHAPER)
    with pytest.raises(PluginError, match=r"has no class `LengthBudgt`\. Did you mean `LengthBudget`\?"):
        names([f"{path}:LengthBudgt"])


def test_named_class_that_is_no_component(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, "class Plain:\n    pass\n")
    with pytest.raises(PluginError, match=r"component `plain` .*is not a subclass of dapoctl\.Component"):
        names([f"{path}:Plain"])


def test_missing_file() -> None:
    with pytest.raises(PluginError, match=r"no plugin file `nowhere\.py`; the form is `\./my_idea\.py:MyIdea`"):
        names(["nowhere.py:Idea"])


def test_file_with_a_syntax_error_names_the_line(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, "import math\n\nx = (1 +* 2)\n")
    with pytest.raises(PluginError, match=r"plugin file `.*my_idea\.py`, line 3: .*`x = \(1 \+\* 2\)`"):
        names([str(path)])


def test_file_that_does_not_import_and_is_then_mended(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, "import no_such_module\n")
    with pytest.raises(
        PluginError,
        match=r"cannot be imported: no module named `no_such_module` \(.*my_idea\.py:1\); `pip install no_such_module`",
    ):
        names([str(path)])
    plugin_file(tmp_path, SHAPER)
    assert "length_budget" in names([str(path)])


# Packages


def catalog_with(*entries: Entry) -> Catalog:
    return Catalog([*installed().entries(), *entries], [])


def test_entry_point_without_its_attribute() -> None:
    entry = Entry("ghost", "dapoctl_gkl.gkl:Ghost", "ghosts", "1.0")
    with pytest.raises(
        PluginError, match=r"component `ghost` \(dapoctl_gkl\.gkl:Ghost, from ghosts 1\.0\).*no `Ghost`"
    ):
        catalog_with(entry).find("ghost").load()


def package(folder: Path, distribution: str, module: str, source: str, points: str) -> None:
    """An installed distribution: a module beside its metadata."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that sees the packages in `path`."""
    setup = f"import sys; sys.path[:0] = {[str(folder) for folder in path]!r}\n"
    return subprocess.run(
        [sys.executable, "-c", setup + textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False
    )


RESOLVE = """
    from dapoctl.components.resolver import choose
    from dapoctl.errors import PluginError
    try:
        print(*choose({recipe!r}, {plugins!r}, ["arithmetic", "hf"]))
    except PluginError as error:
        print("PluginError:", error)
"""


def resolve(plugins: list[str], *path: Path, recipe: str = "grpo") -> str:
    done = python(RESOLVE.format(plugins=plugins, recipe=recipe), *path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def rivals(tmp_path: Path) -> list[Path]:
    """Two distributions that provide a component and a recipe of the same names, and one with a broken component."""
    recipe = "\nfrom dapoctl import Recipe\nFAST = Recipe(purpose='', components=('rloo',), base='grpo')\n"
    folders = []
    for distribution in ("alpha-ideas", "beta-ideas"):
        folder = tmp_path / distribution
        folder.mkdir()
        module = distribution.replace("-", "_")
        points = f"[dapoctl.plugins]\nlength_budget = {module}:LengthBudget\n"
        points += f"[dapoctl.recipes]\nfast = {module}:FAST\n"
        package(folder, module, module, textwrap.dedent(SHAPER) + recipe, points)
        folders.append(folder)
    broken = tmp_path / "broken"
    broken.mkdir()
    points = "[dapoctl.plugins]\nbroken_idea = broken_ideas:Idea\n"
    package(broken, "broken_ideas", "broken_ideas", "raise OSError('no driver')\n", points)
    return [*folders, broken]


@pytest.mark.process
def test_one_distribution_is_found(rivals: list[Path]) -> None:
    first = rivals[0]
    assert resolve(["length_budget"], first) == "uniform grpo clip sequence_mean length_budget arithmetic hf"
    assert resolve([], first, recipe="fast") == "uniform clip sequence_mean rloo arithmetic hf"


@pytest.mark.process
def test_two_distributions_with_one_name_are_both_named(rivals: list[Path]) -> None:
    said = resolve(["length_budget"], *rivals)
    assert said.startswith("PluginError: component `length_budget` is provided by ")
    assert "alpha_ideas (alpha_ideas:LengthBudget)" in said
    assert "beta_ideas (beta_ideas:LengthBudget)" in said
    assert said.endswith("uninstall one of them")


@pytest.mark.process
def test_two_distributions_with_one_recipe_are_both_named(rivals: list[Path]) -> None:
    said = resolve([], *rivals, recipe="fast")
    assert said.startswith("PluginError: recipe `fast` is provided by ")
    assert "alpha_ideas" in said
    assert "beta_ideas" in said


@pytest.mark.process
def test_rivals_and_broken_packages_are_harmless_while_not_selected(rivals: list[Path]) -> None:
    expected = "uniform grpo sequence_mean clip_higher arithmetic hf"
    assert resolve(["clip_higher"], *rivals) == expected
    assert "add one of: cispo, clip, clip_higher, gspo" in resolve(["-clip"], *rivals)


@pytest.mark.process
def test_broken_package_is_named_when_selected(rivals: list[Path]) -> None:
    said = resolve(["broken_idea"], *rivals)
    assert said == (
        "PluginError: component `broken_idea` (broken_ideas:Idea, from broken_ideas 1.0) cannot be imported:"
        f" OSError: no driver ({rivals[-1] / 'broken_ideas.py'}:1)"
    )


@pytest.mark.process
def test_listing_imports_no_component(rivals: list[Path]) -> None:
    done = python(
        """
        from dapoctl.components.catalog import installed
        from dapoctl.components.listing import summarize
        found = {entry.name: summarize(entry) for entry in installed().entries()}
        assert found["clip_higher"].stages == ("policy_loss",), found
        assert found["clip_higher"].purpose and not found["clip_higher"].problem
        assert found["length_budget"].stages == ("shape_rewards",), found
        assert "no class Idea" in found["broken_idea"].problem, found
        homes = {entry.value.partition(":")[0] for entry in installed().entries()}
        print(sorted((homes | {"torch", "transformers"}) & sys.modules.keys()))
        """,
        *rivals,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_wrapper_is_listed_as_such_and_offered_to_nobody() -> None:
    summaries = {entry.name: summarize(entry) for entry in installed().entries()}
    wraps = {name: item.wraps for name, item in summaries.items() if item.wraps}
    assert wraps == {"truncated_importance": ("policy_loss",)}
    assert summaries["truncated_importance"].stages == ("policy_loss",)
    assert "truncated_importance" not in providers_of("policy_loss", installed())
