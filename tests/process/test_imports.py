"""What answers at once must not import what takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import HEAVY, modules_after

SECONDS = 1.0
"""Far above what it takes (a quarter of that), for busy machines."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["plugins", "list"],
        ["plugins", "show", "gkl"],
        ["plugins", "new", "length-budget"],
        ["plugins", "new", "--list-stages"],
        ["plugins", "reference"],
        ["plugins", "reference", "--hooks"],
        ["run", "--dry-run", "--recipe", "dapo", "--plugins", "gkl"],
        ["run", "--dry-run", "--set", "engine=vllm", "--set", "task=math"],
        ["runs", "list"],
        ["doctor", "--help"],
        ["eval", "--help"],
        ["eval", "--sets"],
        ["rescore", "--help"],
    ],
)
def test_commands_that_do_not_train_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = f"import sys\nsys.argv = {['dapoctl', *arguments]!r}\nfrom dapoctl.cli import main\nassert main() == 0"
    assert not HEAVY & modules_after(code, tmp_path)


def test_import_dapoctl_is_light(tmp_path: Path) -> None:
    assert not (HEAVY | {"pydantic", "pluggy", "rich"}) & modules_after("import dapoctl", tmp_path)
    assert not HEAVY & modules_after("from dapoctl import *", tmp_path)


def test_listing_plugins_imports_none_of_them(tmp_path: Path) -> None:
    code = "import sys\nsys.argv = ['dapoctl', 'plugins', 'list']\nfrom dapoctl.cli import main\nmain()"
    assert not {"dapoctl_grpo", "dapoctl_dapo", "dapoctl_gkl"} & modules_after(code, tmp_path)


def test_the_foreground_display_needs_no_textual(tmp_path: Path) -> None:
    assert not HEAVY & modules_after("import dapoctl.cli.foreground", tmp_path)


def test_public_names_are_those_of_their_modules() -> None:
    import dapoctl

    for name in dapoctl.__all__:
        assert getattr(dapoctl, name) is not None
    assert {*dapoctl.__all__} <= {*dir(dapoctl)}
    assert {name for names in dapoctl._HOMES.values() for name in names} == {*dapoctl.__all__}
    with pytest.raises(AttributeError, match="nothing"):
        _ = dapoctl.nothing


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "list"]])
def test_answers_at_once(arguments: list[str], tmp_path: Path) -> None:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "dapoctl", *arguments],
            cwd=tmp_path,
            env={**os.environ},
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=120,
        )
        times.append(time.perf_counter() - begun)
    assert min(times) < SECONDS
