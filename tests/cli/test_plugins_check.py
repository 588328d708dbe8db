"""`dapoctl plugins check` as users meet it, and the small parts below the conformance kit."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dapoctl.batch import Score
from dapoctl.testing.properties.registry import PROPERTIES
from dapoctl.testing.values import close, difference, show
from tests.support.cli import Done, dapoctl
from tests.support.processes import modules_after

SOURCE = '''
from dapoctl import Batch, Component, hookimpl


class Good(Component):
    """Subtract a constant per token."""

    rate: float = 0.5
    """Reward lost per token."""

    @hookimpl
    def shape_rewards(self, batch: Batch):
        print("as people do when they look for a mistake")
        return -self.rate * batch.lengths


class Broken(Component):
    """Divide by the spread."""

    floor: float
    """Added to it."""

    @hookimpl
    def estimate_advantages(self, batch: Batch):
        if batch.rewards[0] == 0.5:
            raise ValueError("[bold]half\\x1b[2J a reward")
        spread = batch.group_mean(batch.rewards.square()) - batch.group_mean(batch.rewards).square()
        return batch.rewards / (spread.clamp(min=0) + self.floor)[batch.groups]
'''


def check(*arguments: str, cwd: Path, **options: Any) -> Done:
    return dapoctl("plugins", "check", *arguments, cwd=cwd, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "idea.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path


def test_a_good_component_passes_with_a_real_step(folder: Path) -> None:
    done = check("./idea.py:Good", "--set", "rate=0.25", cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()[3:-2]}
    assert [*rows] == [item.name for item in PROPERTIES]
    assert rows["step"][0] == rows["padding"][0] == "ok"
    assert rows["counts"] == ["n/a"]
    assert "with rate as given" in rows["builds"][1]
    assert re.fullmatch(r"\d+ properties hold, \d+ not applicable", done.stdout.splitlines()[-1])
    assert "as people do" not in done.stdout


def test_a_wrapper_around_the_engine_passes(tmp_path: Path) -> None:
    (tmp_path / "around.py").write_text(
        "from dapoctl import Component, hookimpl\n"
        "class Around(Component):\n"
        '    """Look at the engine."""\n'
        "    @hookimpl(wrapper=True)\n"
        "    def build_engine(self, policy, config):\n"
        "        engine = yield\n"
        "        self.log('built', 1.0)\n"
        "        return engine\n"
    )
    done = check("./around.py", "--json", cwd=tmp_path)
    results = {item["property"]: item for item in json.loads(done.stdout)["properties"]}
    assert done.returncode == 0, [item for item in results.values() if item["status"] not in ("ok", "not applicable")]
    assert [item["status"] for name, item in results.items() if "engine" in name or "logprob" in name].count("ok") > 0


def test_a_broken_component_fails_with_case_and_fix(folder: Path) -> None:
    done = check("idea.py:Broken", "--set", "floor=0.0", "--no-step", cwd=folder)
    assert done.returncode == 1
    line = next(place for place, text in enumerate(SOURCE.splitlines(), 1) if "half" in text)
    words = "component `broken`, hook `estimate_advantages` raised ValueError: [bold]half\\x1b[2J a reward"
    assert f"{words} (idea.py:{line})" in done.stdout
    assert "result          failed" in done.stdout
    assert "finite          not run  needs `result` to hold" in done.stdout
    assert re.search(
        r"\nresult\n  hook   estimate_advantages\n  case   3 groups x 4 responses, .*\n.*\n  fix    ", done.stdout
    )
    assert "\x1b" not in done.stdout
    assert "step" not in done.stdout


def test_json_is_json_alone(folder: Path) -> None:
    done = check("idea.py:Good", "--set", "good.rate=0.25", "--no-step", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["name"], answer["ok"], answer["parameters"]) == ("good", True, {"rate": 0.25})
    assert len(answer["sha256"]) == 64
    found = {item["property"]: item for item in answer["properties"]}
    assert found["finite"]["status"] == "ok"
    assert found["cut"]["status"] == "not applicable"


def test_json_of_a_broken_one_has_every_failure(folder: Path) -> None:
    done = check("idea.py:Broken", "--no-step", "--json", cwd=folder)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert not answer["ok"]
    (failure,) = answer["properties"][0]["failures"]
    assert failure["case"] == "Broken()"
    assert "`broken.floor` is missing" in failure["found"]
    assert "--set floor=..." in failure["fix"]


MISTAKES: dict[str, tuple[list[str], str]] = {
    "unknown": (["clipp"], r"unknown component `clipp`\. Did you mean `clip`\?"),
    "recipe": (["dapo"], r"`dapo` is a recipe; check its components: .*`dapoctl plugins check clip_higher`"),
    "no file": (["./nothing.py"], r"no plugin file `nothing\.py`"),
    "two in a file": (["./idea.py"], r"plugin file .* holds Good, Broken; name one"),
    "unknown key": (["clip", "--set", "epz=0.1"], r"unknown key `clip\.epz` \(from --set\)\. Did you mean `eps`\?"),
    "out of range": (["clip", "--set", "eps=2"], r"`clip\.eps` = 2 \(from --set\): must be less than 1"),
    "another's key": (["clip", "--set", "kl.coef=2"], r"unknown key `clip\.kl`"),
    "no value": (["clip", "--set", "eps"], r"the form is key=value"),
    "no name": ([], r"Missing argument"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_user_s_mistake_is_told(mistake: str, folder: Path) -> None:
    arguments, message = MISTAKES[mistake]
    done = check(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_mistakes_are_told_before_anything_heavy_is_imported(folder: Path) -> None:
    commands = [["dapoctl", "plugins", "check", *arguments] for arguments, _ in MISTAKES.values()]
    code = f"""
import sys
from dapoctl.cli import main
for sys.argv in {commands!r}:
    assert main() == 2, sys.argv
"""
    assert not {"transformers", "torch"} & modules_after(code, folder)


def fits(lines: list[str], columns: int) -> None:
    assert max(len(line) for line in lines) <= min(columns, 120)
    assert any(line.startswith("finite          not run") for line in lines)


@pytest.mark.parametrize("columns", [80, 150])
def test_the_table_fits_the_columns(columns: int, folder: Path) -> None:
    def in_a_terminal() -> None:
        sys.stdout.isatty = lambda: True  # type: ignore[method-assign]

    arguments = ("idea.py:Broken", "--set", "floor=0.0", "--no-step")
    done = check(*arguments, cwd=folder, before=in_a_terminal, COLUMNS=str(columns), TERM="xterm")
    assert done.returncode == 1
    fits(done.stdout.splitlines(), columns)


@pytest.mark.process
def test_the_table_fits_the_terminal(folder: Path) -> None:
    """A terminal says how wide it is; nobody sets COLUMNS."""
    leader, follower = pty.openpty()
    command = f"stty cols 80; exec {sys.executable} -m dapoctl plugins check idea.py:Broken --set floor=0.0 --no-step"
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=folder, stdin=follower, stdout=follower, stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(follower)
    output = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:
            break
        if not part:
            break
        output += part
    os.close(leader)
    assert process.wait(timeout=120) == 1
    fits(output.decode().splitlines(), 80)


# Comparing and printing values


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")]), ""),
        (torch.tensor([0.0]), torch.tensor([float("nan")]), "it"),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), "it"),
        ({"a": [1, 2.0]}, {"a": [1, 2.5]}, "['a'][1]"),
        ({"a": 1}, {"b": 1}, "it"),
        (Score(1.0, True), Score(1.0, False), ".correct"),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), ""),
        (np.array([1, 2]), np.array([1, 3]), "it"),
        (float("nan"), float("nan"), ""),
        ((1, "a"), (1, "a"), ""),
        (1, 1.0, "it"),
    ],
)
def test_difference_names_the_first_place(first: Any, second: Any, place: str) -> None:
    assert difference(first, second) == place


def test_close_takes_nan_for_nan() -> None:
    assert close(torch.tensor([1.0, float("nan")]), torch.tensor([1.0 + 1e-9, float("nan")], dtype=torch.float64))
    assert not close(torch.tensor([1.0]), torch.tensor([1.001]))
    assert not close(torch.tensor([1.0]), torch.tensor([1.0, 1.0]))


def test_show_is_one_short_line() -> None:
    assert show(torch.arange(20)) == "[0, 1, 2, 3, 4, 5, 6, 7, ...]"
    assert show(torch.ones(1, 2)) == "[1, 1] in shape [1, 2]"
    assert show(torch.tensor([True])) == "[True]"
    assert len(show("x" * 500)) == 120
    assert "\n" not in show(textwrap.dedent("a\nb"))
