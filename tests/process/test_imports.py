"""What answers at once must not import what takes seconds.

Processes: what is imported is read from fresh interpreters.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.support.processes import HEAVY, modules_after, run_dapoctl

pytestmark = pytest.mark.process

SECONDS = 1.0
"""Of computing: far above what it takes, a quarter of that"""


COMMANDS = (
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
)


def test_commands_that_do_not_train_import_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
from dapoctl.cli import main
for arguments in {COMMANDS!r}:
    sys.argv = ["dapoctl", *arguments]
    assert main() == 0, arguments
    heavy = {HEAVY!r} & {{*sys.modules}}
    assert not heavy, (arguments, heavy)
"""
    assert not HEAVY & modules_after(code, tmp_path)


def test_import_dapoctl_is_light(tmp_path: Path) -> None:
    assert not (HEAVY | {"pydantic", "pluggy", "rich"}) & modules_after("import dapoctl", tmp_path)
    assert not HEAVY & modules_after("from dapoctl import *", tmp_path)


def test_loading_every_shipped_component_is_light(tmp_path: Path) -> None:
    """As a configuration check does."""
    code = """
from importlib import metadata
points = [*metadata.entry_points(group="dapoctl.plugins"), *metadata.entry_points(group="dapoctl.recipes")]
shipped = [point for point in points if point.value.startswith("dapoctl_")]
assert len(shipped) > 15, shipped
for point in shipped:
    point.load()
"""
    assert not HEAVY & modules_after(code, tmp_path)


def test_resolving_a_run_is_light(tmp_path: Path) -> None:
    code = f"""
from dapoctl.config.resolve import load
load([], ["model.path={str(tmp_path)!r}", "recipe=dapo", "plugins=['gkl', 'kl']"])
"""
    assert not HEAVY & modules_after(code, tmp_path)


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
    assert {name for names in dapoctl._EXPORTS.values() for name in names} == {*dapoctl.__all__}
    with pytest.raises(AttributeError, match="nothing"):
        _ = dapoctl.nothing


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "list"]])
def test_answers_at_once(arguments: list[str], tmp_path: Path) -> None:
    """In seconds of computing: those on the clock are the machine's, which does other things meanwhile."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run_dapoctl(*arguments, cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < SECONDS
