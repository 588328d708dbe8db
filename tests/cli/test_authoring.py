"""`dapoctl plugins new`: what it writes works as it is, and nothing is overwritten.

Slow: the tests of a new package for each stage but one, by a pytest of their own.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dapoctl
from dapoctl import Component, UserError, hookspecs
from dapoctl.authoring import project
from dapoctl.authoring.names import check_free, spell
from dapoctl.authoring.stages import find_stage, stages
from dapoctl.cli import main
from dapoctl.components.base import snake_case
from dapoctl.components.catalog import file_entry, installed
from tests.support.cli import dapoctl as command

TEMPLATES = Path(project.__file__).parent / "templates"
STAGES = list(hookspecs.stages())


def new(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dapoctl", "plugins", "new", *arguments])
    return main()


# Names


@pytest.mark.parametrize(
    "typed", ["length-budget", "length_budget", "LengthBudget", "dapoctl-length-budget", "Length-Budget"]
)
def test_one_name_in_every_spelling(typed: str) -> None:
    names = spell(typed)
    assert (names.component, names.cls) == ("length_budget", "LengthBudget")
    assert (names.package, names.distribution) == ("dapoctl_length_budget", "dapoctl-length-budget")


@pytest.mark.parametrize("typed", ["KLBudget", "x", "v2", "top2-mean", "Gspo"])
def test_the_class_leads_back_to_the_name(typed: str) -> None:
    names = spell(typed)
    assert snake_case(names.cls) == names.component


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("2fast", r"`2fast` cannot be a component's name.*such as fast"),
        ("a b", r"`a b` cannot be .*such as a-b"),
        ("", "cannot be"),
        ("-x", "cannot be"),
        ("x-", "cannot be"),
        ("a--b", "cannot be"),
        ("idée", r"cannot be .*such as length-budget"),
        ("../x", "cannot be"),
        ("x.py", "cannot be"),
        ("class", r"`class` is a keyword of Python; choose another name, such as class_idea"),
        ("None", "is a keyword of Python"),
        ("top_2", r"`top_2` would be the class `Top2`, whose component name is `top2`; use that name"),
        ("x" * 41, "at most 40 characters"),
    ],
)
def test_names_that_cannot_be(typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        spell(typed)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("overlong", r"`overlong` is taken: dapoctl \S+ \(dapoctl_dapo\.overlong:Overlong\) provides a component"),
        ("Dapo", r"`dapo` is taken: dapoctl \S+ \(dapoctl_dapo\.recipes:DAPO\) provides a recipe"),
        ("steps", "it is a key of every run's configuration"),
        ("rollout", "it is a key of every run's configuration"),
    ],
)
def test_names_that_are_taken(typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_free(spell(typed), installed())


def test_a_file_must_not_hide_a_module() -> None:
    with pytest.raises(UserError, match="there is already a Python module `json`"):
        check_free(spell("json"), installed(), single_file=True)
    with pytest.raises(UserError, match="there is already a Python module `torch`"):
        check_free(spell("torch"), installed(), single_file=True)
    check_free(spell("json"), installed())


def test_a_folder_of_that_name_is_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nudge").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    check_free(spell("nudge"), installed(), single_file=True)
    (tmp_path / "nudge.py").touch()
    with pytest.raises(UserError, match="there is already a Python module `nudge`"):
        check_free(spell("nudge"), installed(), single_file=True)


@pytest.mark.parametrize("typed", ["component", "batch", "field", "tensor", "exception"])
def test_a_class_must_not_hide_what_it_uses(typed: str) -> None:
    with pytest.raises(UserError, match="would hide the one that it uses"):
        project.component_source(spell(typed), find_stage("shape_rewards"))


# Stages


def test_every_hook_has_a_template_that_implements_it() -> None:
    assert list(stages()) == STAGES
    for name, stage in stages().items():
        entry = file_entry(f"{TEMPLATES}/components/{stage.template}.py:Idea")
        assert name in summarize_file(entry.value), name
    used = {stage.template for stage in stages().values()}
    for kind in ("components", "tests"):
        assert {path.stem for path in (TEMPLATES / kind).glob("*.py")} - {"__init__"} == used


def summarize_file(value: str) -> list[str]:
    """The hooks of the class `path:Class`, as the parser sees them."""
    path, _, cls = value.rpartition(":")
    (node,) = [n for n in ast.parse(Path(path).read_bytes()).body if isinstance(n, ast.ClassDef) and n.name == cls]
    return [
        item.name
        for item in node.body
        if isinstance(item, ast.FunctionDef) and any(ast.unparse(mark) == "hookimpl" for mark in item.decorator_list)
    ]


def test_an_unknown_stage_is_answered_with_all_of_them() -> None:
    with pytest.raises(UserError, match=r"no stage `shape_reward`. Did you mean `shape_rewards`\?") as caught:
        find_stage("shape_reward")
    lines = str(caught.value).splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [
        [name, "one" if hookspecs.is_exclusive(name) else "any"] for name in STAGES
    ]
    assert all(len(line.split()) > 6 for line in lines)


def test_list_stages_needs_no_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(monkeypatch, "--list-stages") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out[: len(STAGES)]] == STAGES


def test_templates_use_public_names_only() -> None:
    for path in TEMPLATES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.ImportFrom) or node.module is None or not node.module.startswith("dapoctl"):
                continue
            imported = {item.name for item in node.names}
            if node.module == "dapoctl":
                assert imported <= set(dapoctl.__all__), path
            elif node.module == "dapoctl.testing":
                assert imported <= {"check_component", "make_batch", "make_tokens"}, path
            elif node.module == "dapoctl.models.policy":
                assert (path.name, imported) == ("engine.py", {"Policy"}), path
            else:
                assert node.module == f"dapoctl.authoring.templates.components.{path.stem}", path


# Files


def test_single_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert new(monkeypatch, "LengthBudget", "--single-file") == 0
    out = capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("*")] == ["length_budget.py"]
    assert "dapoctl plugins check ./length_budget.py:LengthBudget" in out
    assert "dapoctl run --plugins ./length_budget.py:LengthBudget --set steps=3" in out
    cls = file_entry("./length_budget.py:LengthBudget").load()
    assert issubclass(cls, Component)
    before = Path("length_budget.py").read_bytes()
    assert new(monkeypatch, "length-budget", "--single-file") == 2
    assert "`length_budget.py` already exists, and nothing is overwritten" in capsys.readouterr().err
    assert Path("length_budget.py").read_bytes() == before


def test_single_file_in_a_folder_with_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new(monkeypatch, "nudge", "my ideas", "--single-file") == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(command)[3] == "./my ideas/nudge.py:Nudge"
    assert file_entry(shlex.split(command)[3]).name == "nudge"


@pytest.mark.parametrize(
    ("stage", "run"),
    [
        ("filter_groups", "dapoctl run --plugins my_idea --set steps=3"),
        ("score_response", "dapoctl run --set task=my_idea --set steps=3"),
        ("build_engine", "dapoctl run --set engine=my_idea --set steps=3"),
    ],
)
def test_the_next_commands_are_said(
    stage: str, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new(monkeypatch, "my-idea", "--stage", stage) == 0
    out = capsys.readouterr().out
    _, commands = out.split("Next:\n")
    assert [line.strip() for line in commands.splitlines()] == [
        "cd my-idea", "pip install -e .", "dapoctl plugins check my_idea", run
    ]  # fmt: skip
    assert run in (tmp_path / "my-idea" / "README.md").read_text(encoding="utf-8")
    wrote = sorted(line.removeprefix("wrote ") for line in out.splitlines() if line.startswith("wrote "))
    assert wrote == sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nudge").mkdir()
    assert new(monkeypatch, "nudge") == 0, "an empty folder is as good as none"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for arguments, message in (
        (["nudge"], "folder `nudge` is not empty, and nothing is overwritten"),
        (["other", "nudge"], "folder `nudge` is not empty"),
        (["other", "file"], "`file` is a file"),
        (["other", "file/deeper"], "cannot be written"),
    ):
        assert new(monkeypatch, *arguments) in (1, 2)
        assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("stage", STAGES)
def test_the_package_is_what_installers_expect(stage: str) -> None:
    files = project.package_files(spell("length-budget"), find_stage(stage))
    described = tomllib.loads(files["pyproject.toml"])
    assert described["project"]["name"] == "dapoctl-length-budget"
    assert described["project"]["description"]
    points = described["project"]["entry-points"]["dapoctl.plugins"]
    assert points == {"length_budget": "dapoctl_length_budget.component:LengthBudget"}
    source = files["src/dapoctl_length_budget/component.py"]
    assert any(isinstance(n, ast.ClassDef) and n.name == "LengthBudget" for n in ast.parse(source).body)
    required = {re.split(r"[<>=]", item)[0] for item in described["project"]["dependencies"]}
    outside = {n.module or "" for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)}
    outside |= {item.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import) for item in n.names}
    heads = {name.partition(".")[0] for name in outside}
    assert heads - set(sys.stdlib_module_names) - {"torch"} <= required
    assert not [path for path, text in files.items() if "Idea" in text or "templates" in text]


@pytest.mark.process
@pytest.mark.parametrize("stage", STAGES)
def test_the_package_is_tidy(stage: str, tmp_path: Path) -> None:
    """Formatted and in order for a linter that knows nothing of this project's settings."""
    folder = tmp_path / "idea"
    project.write(folder, project.package_files(spell("length-budget"), find_stage(stage)))
    for options in (["check", "--isolated", "--select", "E,F,W,I,B,UP,RUF", "--line-length", "128"],
                    ["format", "--isolated", "--check", "--line-length", "120"]):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *options, "."], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


PROVIDED = {stage.template: name for name, stage in stages().items()}
QUICK = ("observer",)


@pytest.mark.process
@pytest.mark.parametrize(
    "template",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in sorted(PROVIDED)],
)
def test_the_package_passes_its_own_tests(template: str, tmp_path: Path) -> None:
    folder = tmp_path / "idea"
    project.write(folder, project.package_files(spell("length-budget"), find_stage(PROVIDED[template])))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE)


def test_a_task_in_a_file_trains_and_is_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "doubles.py"
    path.write_text(project.component_source(spell("doubles"), find_stage("score_response")), encoding="utf-8")
    settings = [f"task={path}:Doubles", "steps=1", "eval.limit=4", "rollout.prompts=2", "rollout.samples=2"]
    options = [word for setting in settings for word in ("--set", setting)]
    done = command("run", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (evals,) = (tmp_path / "runs").glob("*/evals")
    assert [folder.name for folder in evals.iterdir()] == ["doubles"]
    (metrics,) = (tmp_path / "runs").glob("*/metrics.jsonl")
    assert '"eval/doubles/avg@1"' in metrics.read_text(encoding="utf-8").splitlines()[-1]
