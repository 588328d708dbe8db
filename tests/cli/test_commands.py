"""The command line as users meet it: exit codes, messages that name key, value and fix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from dapoctl.components import catalog
from tests.support.cli import Cli, dapoctl, environment

IDEA = '''
from dapoctl import Batch, Component, hookimpl


class Idea(Component):
    """Reward [/bold] of my own."""

    by: float = 0.5
    """How much."""

    @hookimpl
    def shape_rewards(self, batch: Batch):
        return batch.rewards * 0 + self.by
'''


def install(site: Path, name: str, entry_points: str, **modules: str) -> Path:
    """A distribution as an installer would leave it in `site`; the folder."""
    info = site / f"{name}-2.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, source in modules.items():
        (site / f"{module}.py").write_text(source)
    return site


FILES = {
    "malformed.toml": "steps = \n",
    "unknown_key.toml": "stpes = 3\n",
    "unknown_table.toml": "[rolout]\nprompts = 3\n",
    "idea.py": IDEA,
    "syntax.py": "x = (\n",
}

MISTAKES = {
    "unknown key": (["--set", "stpes=3"], ["`stpes`", "--set", "`steps`"]),
    "unknown key in a file": (["-c", "unknown_key.toml"], ["`stpes`", "unknown_key.toml", "`steps`"]),
    "unknown nested key": (["--set", "optim.learning=1"], ["`optim.learning`", "lr"]),
    "unknown component": (["--plugins", "clip_highr"], ["`clip_highr`", "`clip_higher`", "pip install"]),
    "unknown recipe": (["--recipe", "dpo"], ["`dpo`", "`dapo`"]),
    "wrong type": (["--set", "steps=abc"], ["`steps`", "'abc'", "integer"]),
    "out of range": (["--set", "rollout.top_p=2"], ["`rollout.top_p`", "2", "less than or equal to 1"]),
    "component out of range": (["--set", "clip.eps=-1"], ["`clip.eps`", "-1", "greater than 0"]),
    "two mistakes": (["--set", "steps=0", "--set", "rollout.prompts=0"], ["`steps` = 0", "`rollout.prompts` = 0"]),
    "missing file": (["-c", "none.toml"], ["`none.toml`"]),
    "a folder as file": (["-c", "."], ["`.`"]),
    "malformed TOML": (["-c", "malformed.toml"], ["`malformed.toml`", "line 1"]),
    "--set without a value": (["--set", "steps"], ["'steps'", "key=value"]),
    "--set with a broken literal": (["--set", "eval.set=[1"], ["'[1'", "TOML"]),
    "two providers": (["--plugins", "rloo,dr_grpo"], ["`rloo`", "`dr_grpo`", "estimate_advantages", "choose one"]),
    "unknown table": (["-c", "unknown_table.toml"], ["`rolout`", "unknown_table.toml", "`rollout`"]),
    "parameter that is not there": (["--set", "clip.eps_high=1"], ["`clip.eps_high`", "eps"]),
    "parameter of an absent component": (["--set", "clip_higher.eps_high=1"], ["`clip_higher`", "--plugins"]),
    "nothing to leave out": (["--plugins=-overlong"], ["`-overlong`", "uniform"]),
    "no plugin file": (["--plugins", "./nope.py:X"], ["`nope.py`"]),
    "no such class": (["--plugins", "./idea.py:Idee"], ["`Idee`", "`Idea`"]),
    "plugin file with a syntax error": (["--plugins", "./syntax.py"], ["syntax.py", "line 1"]),
    "bad name": (["--name", "a/b"], ["`name`", "'a/b'"]),
    "bad seed": (["--seed", "-3"], ["`seed`", "-3"]),
    "seed that is no number": (["--seed", "abc"], ["--seed", "integer"]),
    "unknown option": (["--recipes", "dapo"], ["--recipes", "--recipe"]),
    "stray argument": (["extra"], ["extra"]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_exits_2_and_names_the_fix(mistake: str, folder: Path) -> None:
    arguments, words = MISTAKES[mistake]
    # Without --dry-run: a mistake must be found before anything heavy is imported or written.
    done = dapoctl("run", *arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (folder / "runs").exists()
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plugins", "show", "clip_highr"], ["`clip_highr`", "`clip_higher`"]),
        (["plugins", "show"], ["NAME"]),
        (["runs", "show", "nothing"], ["`nothing`", "runs"]),
        (["runs", "resume", "nothing"], ["`nothing`", "runs"]),
        (["plugin"], ["'plugin'", "plugins"]),
    ],
)
def test_mistake_in_other_commands(cli: Cli, arguments: list[str], words: list[str]) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["-h"], ["run", "--help"], ["plugins"], ["runs"], ["runs", "-h"]]
)
def test_help_is_no_mistake(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: dapoctl") == 1


def test_version(cli: Cli) -> None:
    from dapoctl import __version__

    assert cli("--version").stdout == f"dapoctl {__version__}\n"


ROUND_TRIPS = {
    "default": [],
    "dapo": [
        "--recipe",
        "dapo",
        "--plugins",
        "gkl",
        "--set",
        "gkl.gamma=0.25",
        "--set",
        "clip_higher.dual_clip=10",
        "--set",
        "optim.updates=2",
    ],
    "left out": [
        "--plugins",
        "dapo",
        "--plugins=-overlong",
        "--seed",
        "7",
        "--name",
        "no-overlong",
        "--set",
        "optim.updates=2",
    ],
    "values": ["--set", 'eval.set=["math", "arithmetic"]', "--set", "optim.lr=3e-05", "--set", "model.dtype=float32"],
    "file": ["--plugins", "./idea.py:Idea", "--set", "idea.by=1e-7"],
    "text": ["--set", 'arithmetic.marker="[/b] \'\\n"'],
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_dry_run_prints_what_resolves_to_itself(case: str, folder: Path) -> None:
    first = dapoctl("run", "--dry-run", *ROUND_TRIPS[case], cwd=folder)
    assert (first.returncode, first.stderr) == (0, "")
    (folder / "again.toml").write_text(first.stdout)
    second = dapoctl("run", "--dry-run", "-c", "again.toml", cwd=folder)
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == first.stdout
    as_json = dapoctl("run", "--dry-run", "--json", "-c", "again.toml", cwd=folder)
    assert json.loads(as_json.stdout) == tomllib.loads(first.stdout)
    assert not (folder / "runs").exists()


def test_dry_run_holds_what_was_asked(folder: Path) -> None:
    (folder / "base.toml").write_text("steps = 5\nseed = 1\n[rollout]\nprompts = 3\n")
    (folder / "more.toml").write_text("steps = 6\n")
    done = dapoctl(
        "run",
        "--dry-run",
        "-c",
        "base.toml",
        "-c",
        "more.toml",
        "--set",
        "rollout.samples=4",
        "--seed",
        "9",
        cwd=folder,
    )
    values = tomllib.loads(done.stdout)
    assert (values["steps"], values["seed"]) == (6, 9)
    assert (values["rollout"]["prompts"], values["rollout"]["samples"]) == (3, 4)
    assert values["clip"] == {"eps": 0.2}


def test_warnings_go_to_stderr(folder: Path) -> None:
    (folder / "unused.toml").write_text("[gkl]\ncoef = 0.1\n")
    done = dapoctl("run", "--dry-run", "-c", "unused.toml", cwd=folder)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: [gkl] in unused.toml")
    assert "gkl" not in tomllib.loads(done.stdout)


def test_plugins_list_shows_every_stage_and_component(cli: Cli) -> None:
    from dapoctl.components.catalog import installed
    from dapoctl.hookspecs import stages

    done = cli("plugins", "list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    starts = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert [word for word in starts if word in stages()] == [*stages()]
    shown = {line.split()[0] for line in lines if line.startswith("  ")}
    assert shown >= {*installed().names(), *installed().recipes()}


def test_plugins_list_as_json(cli: Cli) -> None:
    found = json.loads(cli("plugins", "list", "--json").stdout)
    components = {item["name"]: item for item in found["components"]}
    assert components["gkl"]["stages"] == ["regularize_vocab", "on_step_end"]
    assert components["clip_higher"]["purpose"] == "The clipped surrogate with a higher upper bound."
    assert components["clip_higher"]["distribution"] == "dapoctl"
    recipes = {item["name"]: item for item in found["recipes"]}
    assert recipes["dapo"]["components"] == ["clip_higher", "dynamic_sampling", "token_mean", "overlong"]
    assert recipes["dapo"]["base"] == "grpo"


def test_plugins_list_neither_imports_nor_trips_over_a_broken_package(cli: Cli, tmp_path: Path) -> None:
    declared = (
        "[dapoctl.plugins]\nboom = boom:Boom\nabsent = nowhere_to_be_found:Absent\ngkl = boom:Boom\n"
        "[dapoctl.recipes]\nodd = boom:ODD\n"
    )
    source = IDEA.replace("Idea", "Boom") + "\nraise SystemExit('imported')\n"
    site = install(tmp_path / "site", "others", declared, boom=source)
    done = cli("plugins", "list", packages=[site])
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert any(line.split()[:3] == ["boom", "others", "2.1"] and "Reward [/bold] of my own." in line for line in lines)
    broken = lines[next(place for place, line in enumerate(lines) if line.startswith("broken")) :]
    assert any(line.split()[0] == "absent" and "nowhere_to_be_found" in line for line in broken if line)
    assert any(line.split()[0] == "odd" and "Recipe" in line for line in broken if line)
    assert "`gkl` is provided by 2 packages" in done.stdout
    problems = json.loads(cli("plugins", "list", "--json", packages=[site]).stdout)["components"]
    assert {item["name"] for item in problems if item["problem"]} == {"absent"}
    # It cannot hurt a run that does not use it.
    assert cli("run", "--dry-run", packages=[site]).returncode == 0
    assert cli("run", "--dry-run", "--plugins", "absent", packages=[site]).returncode == 2


def test_plugins_show_a_component(cli: Cli) -> None:
    page = cli("plugins", "show", "clip_higher").stdout
    for words in ("policy_loss (exactly one per run)", "eps_high = 0.28 (float, > 0)", "arXiv:2503.14476", "dapoctl"):
        assert words in page
    found = json.loads(cli("plugins", "show", "clip_higher", "--json").stdout)
    assert (found["kind"], found["name"], found["distribution"]) == ("component", "clip_higher", "dapoctl")
    assert found["entry_point"] == "dapoctl_dapo.losses:ClipHigher"
    parameters = {item["name"]: item for item in found["parameters"]}
    assert parameters["eps_low"]["bounds"] == ["> 0", "< 1"]
    assert parameters["dual_clip"]["default"] is None
    assert parameters["dual_clip"]["type"] == "float | none"


def test_plugins_show_every_component_and_recipe() -> None:
    from dapoctl.views import component

    catalogue = catalog.installed()
    pages = [component.component(name, catalogue) for name in catalogue.names()]
    recipes = [component.recipe(name, catalogue) for name in catalogue.recipes()]
    assert all(page.lines() and page.as_dict() for page in [*pages, *recipes])
    assert all(parameter.meaning for page in pages for parameter in page.parameters)


def test_plugins_show_a_file_and_a_recipe(folder: Path) -> None:
    page = dapoctl("plugins", "show", "./idea.py:Idea", cwd=folder).stdout
    assert "Reward [/bold] of my own." in page
    assert f"{folder.resolve()}/idea.py:Idea" in page
    assert "sha256" in page
    recipe = json.loads(dapoctl("plugins", "show", "dapo", "--json", cwd=folder).stdout)
    names = [item["name"] for item in recipe["components"]]
    assert names == ["uniform", "grpo", "clip_higher", "dynamic_sampling", "token_mean", "overlong"]
    both = json.loads(dapoctl("plugins", "show", "grpo", "--json", cwd=folder).stdout)
    assert (both["kind"], both["recipe"]["kind"]) == ("component", "recipe")


def test_runs_of_an_empty_store(cli: Cli) -> None:
    assert cli("runs", "list").returncode == 0
    assert json.loads(cli("runs", "list", "--json").stdout) == []


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two runs, as their files tell them: one that was stopped, and a folder that is none."""
    run = tmp_path / "store" / "20250101-120000-dapo-ab12"
    (run / "attempts" / "1").mkdir(parents=True)
    spec = {
        "schema": 1,
        "name": "dapo",
        "created": 1.7e9,
        "config": {"steps": 10, "model": {"path": "tiny"}},
        "pipeline": {"clip_higher": {}, "gkl": {}},
    }
    (run / "spec.json").write_text(json.dumps(spec))
    (run / "attempts" / "1" / "exit.json").write_text(json.dumps({"state": "stopped"}))
    metrics = {"reward/mean": -0.25, "policy/entropy": "NaN", "eval/arithmetic/avg@1": 0.5}
    rows = [{"schema": 1, "kind": "metrics"}, {"step": 4, "time": 1.0, "metrics": metrics}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "store" / "zzz").mkdir()
    return tmp_path / "store"


def test_runs_show(cli: Cli, store: Path) -> None:
    found = json.loads(cli("runs", "show", "ab12", "--json", "--runs-dir", str(store)).stdout)
    assert (found["id"], found["name"]) == ("20250101-120000-dapo-ab12", "dapo")
    assert (found["state"], found["step"], found["steps"]) == ("stopped", 4, 10)
    assert found["components"] == ["clip_higher", "gkl"]
    assert found["metrics"] == {"reward/mean": -0.25, "policy/entropy": "NaN", "eval/arithmetic/avg@1": 0.5}
    assert Path(found["directory"]) == store / found["id"]
    page = cli("runs", "show", "dapo", DAPOCTL_RUNS=str(store))
    assert (page.returncode, page.stderr) == (0, "")
    for words in ("stopped, step 4 of 10", "clip_higher, gkl", "nan", "dapoctl runs resume 20250101-120000-dapo-ab12"):
        assert words in page.stdout


def test_runs_list_shows_foreign_folders_as_such(cli: Cli, store: Path) -> None:
    done = cli("runs", "list", "--runs-dir", str(store))
    assert done.returncode == 0
    header, run, foreign = done.stdout.splitlines()
    assert header.split()[:3] == ["RUN", "STATE", "STEP"]
    assert run.split() == ["20250101-120000-dapo-ab12", "stopped", "4/10", "-0.250", "50.0%", "clip_higher,gkl"]
    assert foreign.split()[:2] == ["zzz", "unreadable"]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let whatever asks for the installed components meet an exception."""

    def with_error(error: BaseException) -> None:
        def installed() -> NoReturn:
            raise error

        installed.cache_clear = lambda: None  # type: ignore[attr-defined]
        monkeypatch.setattr(catalog, "installed", installed)

    return with_error


def test_unexpected_error_is_one_line_that_says_where_its_traceback_is(
    cli: Cli, broken: Callable[[BaseException], None], tmp_path: Path
) -> None:
    broken(RuntimeError("wires\ncrossed"))
    done = cli("plugins", "list", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unexpected RuntimeError: wires crossed (traceback in ")
    assert "DAPOCTL_DEBUG=1" in line
    (saved,) = tmp_path.glob("dapoctl-*.traceback.txt")
    assert str(saved) in line
    assert "Traceback" in saved.read_text()


def test_debug_shows_tracebacks(cli: Cli, broken: Callable[[BaseException], None]) -> None:
    broken(RuntimeError("wires"))
    assert "Traceback" in cli("plugins", "list", DAPOCTL_DEBUG="1").stderr
    mistake = cli("run", "--set", "stpes=3", DAPOCTL_DEBUG="1")
    assert mistake.returncode == 2
    assert "Traceback" in mistake.stderr


def test_interrupted_exits_130(cli: Cli, broken: Callable[[BaseException], None]) -> None:
    broken(KeyboardInterrupt())
    done = cli("plugins", "list")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_messages_cannot_steer_the_terminal(cli: Cli) -> None:
    done = cli("run", "--plugins", "[red]\x1b[2Jx")
    assert done.returncode == 2
    assert "`[red]\\x1b[2Jx`" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["plugins", "list"], ["run", "--dry-run"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dapoctl", *arguments],
            cwd=tmp_path,
            env=environment(),
            stdout=write,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode in (0, 1)
