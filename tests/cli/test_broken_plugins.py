"""A broken plugin is named with the place in its author's code and the fix, before a run begins; it hurts nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.broken import HEAD, dapoctl, distribution, idea, line_of, train

# Files of the user's own: (source, what is said, the line that is named)

FILES: dict[str, tuple[str, list[str], str]] = {
    "syntax": ("import torch\nx = (1 +* 2)\n", ["plugin file", "line 2", "`x = (1 +* 2)`"], ""),
    "import": ("import no_such_thing\n", ["no module named `no_such_thing`", "`pip install no_such_thing`"], "no_such"),
    "raises": (HEAD + "\nlimit = {}['budget']\n", ["cannot be imported: KeyError: 'budget'"], "limit ="),
    "exits": (HEAD + "import sys\nsys.exit(3)\n", ["exits the program", "if __name__"], "sys.exit"),
    "hook that does not exist": (
        idea("@hookimpl\ndef shape_reward(self, batch):\n    return batch.rewards"),
        ["`Idea.shape_reward` is a @hookimpl", "Did you mean `shape_rewards`?"],
        "@hookimpl",
    ),
    "hook without its mark": (
        idea("def shape_rewards(self, batch):\n    return batch.rewards"),
        ["has the name of a hook but is not marked", "put @hookimpl above it"],
        "def shape_rewards",
    ),
    "mistyped, without a mark": (
        idea("def shape_reward(self, batch):\n    return batch.rewards"),
        ["implements no hook", "Is `shape_reward`", "meant to be `shape_rewards`?"],
        "def shape_reward",
    ),
    "argument": (
        idea("@hookimpl\ndef shape_rewards(self, rewards):\n    return rewards"),
        ["`Idea.shape_rewards` takes an argument `rewards`", "it may take: batch"],
        "@hookimpl",
    ),
    "wrapper that is none": (
        idea("@hookimpl(wrapper=True)\ndef shape_rewards(self, batch):\n    return batch.rewards"),
        ["component `idea`", "shape_rewards", "not a generator function"],
        "",
    ),
    "no component": ("class Idea:\n    pass\n", ["holds no dapoctl.Component"], ""),
    "cannot be built": (
        idea("def model_post_init(self, context):\n    open('/no/such/file')\n" + "@hookimpl\ndef on_run_start(self): ..."),
        ["component `idea` cannot be built: FileNotFoundError"],
        "open(",
    ),
    "refuses with an error of its own": (
        idea("def check_run(self, config):\n    return config.rollout.groups\n@hookimpl\ndef on_run_start(self): ..."),
        ["component `idea`, `check_run` raised AttributeError", "groups"],
        "config.rollout.groups",
    ),
    "a default that its bounds forbid": (
        "from pydantic import Field\n"
        + idea("rate: float = Field(-1.0, ge=0)\n@hookimpl\ndef on_run_start(self): ..."),
        ["`idea.rate` = -1.0: must be greater than or equal to 0"],
        "",
    ),
    "parameter that is no data": (
        "from typing import Any\n" + idea("tool: Any = object()\n@hookimpl\ndef on_run_start(self): ..."),
        ["component `idea`: its parameters cannot be serialised as JSON", "`PrivateAttr`"],
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_broken_file_is_refused_before_anything_begins(case: str, tmp_path: Path) -> None:
    source, said, line = FILES[case]
    (tmp_path / "my_idea.py").write_text(source, encoding="utf-8")
    done = train(tmp_path, "./my_idea.py", "steps=1")
    assert done.returncode == 2, done.stderr
    for part in said:
        assert part in done.stderr
    if line:
        assert f"my_idea.py:{line_of(source, line)})" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_traceback_of_an_import_is_kept(tmp_path: Path) -> None:
    (tmp_path / "my_idea.py").write_text("def limit():\n    return {}['budget']\n\nlimit()\n", encoding="utf-8")
    done = train(tmp_path, "./my_idea.py", "steps=1")
    assert "KeyError: 'budget' (my_idea.py:2)" in done.stderr
    (kept,) = tmp_path.glob("dapoctl-*.traceback.txt")
    assert f"traceback in {kept}" in done.stderr
    assert 'my_idea.py", line 4, in <module>' in kept.read_text(encoding="utf-8")


def test_a_module_beside_a_file_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("RATE = 1\n", encoding="utf-8")
    (tmp_path / "my_idea.py").write_text("from helper import RATE\n", encoding="utf-8")
    done = train(tmp_path, "./my_idea.py", "steps=1")
    assert done.returncode == 2
    assert "a plugin file cannot import `helper.py` beside it" in done.stderr
    assert "pip install" not in done.stderr


# Installed packages: (files, entry point, what is said)

GOOD = "@hookimpl\ndef shape_rewards(self, batch):\n    return 0 * batch.rewards"
PACKAGES: dict[str, tuple[dict[str, str], str, list[str]]] = {
    "syntax": (
        {"bad_ideas/__init__.py": "", "bad_ideas/core.py": "class Idea(:\n"},
        "bad_ideas.core:Idea",
        ["cannot be imported: ", "core.py:1: invalid syntax: `class Idea(:`"],
    ),
    "needs what is not installed": (
        {"bad_ideas.py": f"{HEAD}\nimport no_such_thing.part\n"},
        "bad_ideas:Idea",
        ["no module named `no_such_thing`", "bad_ideas.py:4", "`pip install no_such_thing`"],
    ),
    "module that is not there": ({"bad_ideas.py": ""}, "bad_ideas.core:Idea", ["fix `pyproject.toml`, or reinstall"]),
    "package that is not there": ({}, "bad_ideas:Idea", ["no module named `bad_ideas`", "or reinstall"]),
    "class that is not there": (
        {"bad_ideas.py": idea(GOOD)}, "bad_ideas:Ideas", ["its module has no `Ideas`. Did you mean `Idea`?"],
    ),
    "no class at all": ({"bad_ideas.py": idea(GOOD)}, "bad_ideas", ["does not name a class", "`package.module:Class`"]),
    "a function": (
        {"bad_ideas.py": "def idea():\n    return 1\n"}, "bad_ideas:idea", ["is not a subclass of dapoctl.Component"],
    ),
    "exits": ({"bad_ideas.py": "import sys\nsys.exit('no GPU')\n"}, "bad_ideas:Idea", ["exits the program", ":2)"]),
    "for a newer dapoctl": (
        {"bad_ideas.py": idea("@hookimpl\ndef shape_rewards(self, batch, history):\n    return batch.rewards")},
        "bad_ideas:Idea",
        [
            "takes an argument `history` that the hook does not have; it may take: batch",
            "this is dapoctl 0.1.0: if bad-ideas 2.5 was written for a newer one, upgrade dapoctl",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PACKAGES)
def test_a_broken_package_hurts_only_who_selects_it(case: str, tmp_path: Path) -> None:
    files, point, said = PACKAGES[case]
    packages = (distribution(tmp_path / "site", "bad-ideas", files, {"bad_idea": point}, version="2.5"),)
    done = dapoctl(tmp_path, "run", "--plugins", "bad_idea", packages=packages)
    assert done.returncode == 2, done.stderr
    assert "bad-ideas 2.5" in done.stderr
    for part in said:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
    shown = dapoctl(tmp_path, "plugins", "show", "bad_idea", packages=packages)
    assert (shown.returncode, "Traceback" in shown.stderr) == (2, False)
    listed = dapoctl(tmp_path, "plugins", "list", packages=packages)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "bad_idea" in listed.stdout
    other = dapoctl(tmp_path, "run", "--dry-run", "--json", packages=packages)
    assert other.returncode == 0, other.stderr


def test_broken_packages_are_shown_as_broken(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for number, case in enumerate(PACKAGES):
        files, point, _ = PACKAGES[case]
        named = {path.replace("bad_ideas", f"bad_{number}"): source for path, source in files.items()}
        distribution(site, f"bad-{number}", named, {f"bad_{number}": point.replace("bad_ideas", f"bad_{number}")})
    listed = json.loads(dapoctl(tmp_path, "plugins", "list", "--json", packages=(site,)).stdout)
    found = {item["name"]: item for item in listed["components"]}
    assert all(found[f"bad_{number}"]["problem"] for number in range(len(PACKAGES)))
    assert not any(item["problem"] for name, item in found.items() if not name.startswith("bad_"))
    done = train(tmp_path, "clip_higher", "steps=1", packages=(site,))
    assert done.returncode == 0, done.stderr
    assert dapoctl(tmp_path, "plugins", "show", "gkl", packages=(site,)).returncode == 0


def test_two_packages_with_one_name(tmp_path: Path) -> None:
    sites = tuple(
        distribution(tmp_path / name, name, {f"{name}.py": idea(GOOD)}, {"same_idea": f"{name}:Idea"})
        for name in ("alpha", "beta")
    )
    done = dapoctl(tmp_path, "run", "--plugins", "same_idea", packages=sites)
    assert done.returncode == 2
    assert "component `same_idea` is provided by alpha (alpha:Idea) and beta (beta:Idea); uninstall one" in done.stderr
    listed = dapoctl(tmp_path, "plugins", "list", packages=sites)
    assert listed.returncode == 0
    assert "`same_idea` is provided by 2 packages, so a run cannot use it; uninstall one" in listed.stdout
    assert dapoctl(tmp_path, "run", "--dry-run", packages=sites).returncode == 0


def test_what_a_package_prints_when_imported_spoils_no_output(tmp_path: Path) -> None:
    loud = {"loud.py": "print('hello from loud')\n" + idea(GOOD)}
    packages = (distribution(tmp_path / "site", "loud", loud, {"loud": "loud:Idea"}),)
    done = dapoctl(tmp_path, "run", "--dry-run", "--json", "--plugins", "loud", packages=packages)
    assert done.returncode == 0, done.stderr
    assert "loud" in json.loads(done.stdout)["plugins"]
    assert "hello from loud" in done.stderr


def test_an_old_package_that_takes_fewer_arguments_trains(tmp_path: Path) -> None:
    """Hooks gain arguments with time; who was written before takes what was there."""
    old = idea(
        """
        @hookimpl
        def regularize_vocab(self, logits):
            return 1e-4 * logits.logsumexp(-1)
        @hookimpl
        def on_step_end(self, step):
            print("saw step", step)
        @hookimpl
        def on_run_end(self):
            print("saw the end")
        """
    )
    packages = (distribution(tmp_path / "site", "old-ideas", {"old_ideas.py": old}, {"old_idea": "old_ideas:Idea"}),)
    done = train(tmp_path, "old_idea", "steps=2", packages=packages)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("saw")] == [
        "saw step 1",
        "saw step 2",
        "saw the end",
    ]
    (directory,) = (tmp_path / "runs").iterdir()
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()[1:]]
    assert all(row["metrics"]["policy/old_idea"] > 0 for row in rows)
    spec = json.loads((directory / "spec.json").read_text())
    assert spec["pipeline"]["old_idea"]["version"] == "1.0"


def test_stages_are_read_through_base_classes_and_re_exports(tmp_path: Path) -> None:
    files = {
        "many/__init__.py": "from .parts import Made, Plain as Renamed\nfrom many.parts import *\n",
        "many/base.py": idea(GOOD).replace("class Idea", "class Base"),
        "many/parts.py": (
            "from many import base\nfrom many.base import Base\nfrom dapoctl import Component, hookimpl\n\n"
            "class Plain(Base):\n    '''Plain.'''\n\n"
            "class Qualified(base.Base):\n    '''Qualified.'''\n\n"
            "def make():\n    class Inner(Base):\n        pass\n    return Inner\n\n"
            "Made = make()\n\n"
            "class OfMade(make()):\n    '''Of a call.'''\n    @hookimpl\n    def on_run_end(self): ...\n"
        ),
    }  # fmt: skip
    names = {"renamed": "Renamed", "qualified": "Qualified", "made": "Made", "of_made": "OfMade"}
    points = {f"many_{key}": f"many:{value}" for key, value in names.items()}
    points |= {f"bulk_{number}": "many.parts:Plain" for number in range(200)}
    packages = (distribution(tmp_path / "site", "many", files, points),)
    done = dapoctl(tmp_path, "plugins", "list", "--json", packages=packages)
    found = {item["name"]: item for item in json.loads(done.stdout)["components"]}
    assert [found[f"many_{name}"]["stages"] for name in names] == [
        ["shape_rewards"],
        ["shape_rewards"],
        [],
        ["on_run_end"],
    ]
    assert found["many_made"]["hidden"] == "`Made` is made by a call, not by a class statement"
    assert found["many_of_made"]["hidden"] == "its base `make()` is not in any source"
    assert not any(item["problem"] for item in found.values())
    assert sum(item["stages"] == ["shape_rewards"] for item in found.values()) >= 202
    listed = dapoctl(tmp_path, "plugins", "list", packages=packages)
    assert "stages unknown" in listed.stdout
    shown = json.loads(dapoctl(tmp_path, "plugins", "show", "many_made", "--json", packages=packages).stdout)
    assert [stage["name"] for stage in shown["stages"]] == ["shape_rewards"]
