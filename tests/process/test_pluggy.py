"""The oldest pluggy that pyproject.toml allows does all that the newest does.

Slow: another pluggy is installed from the package index, for processes that import it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.places import ROOT

pytestmark = [pytest.mark.process, pytest.mark.slow]

OLDEST = re.findall(
    r"pluggy>=([\d.]+)", str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])
)[0]
OLDEST = f"{OLDEST}.0" if OLDEST.count(".") == 1 else OLDEST
HOOKS = ("tests/unit/components/test_resolver.py", "tests/unit/components/test_catalog.py")
TRAINING = "import sys; sys.argv = ['dapoctl', 'run', '--plugins', 'dapo,gkl,kl', *sys.argv[1:]]\n"
TRAINING += (
    "from dapoctl.cli import main; import pluggy; code = main(); print('pluggy', pluggy.__version__); sys.exit(code)"
)


@pytest.fixture(scope="module")
def old_pluggy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH that holds the oldest pluggy."""
    if metadata.version("pluggy") == OLDEST:
        pytest.skip(f"pluggy {OLDEST} is what is installed")
    folder = tmp_path_factory.mktemp("pluggy")
    command = ["-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), f"pluggy=={OLDEST}"]
    for python in dict.fromkeys([sys.executable, getattr(sys, "_base_executable", sys.executable)]):
        done = subprocess.run([python, *command], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode == 0:
            return folder
    pytest.skip(f"pluggy {OLDEST} cannot be installed: {done.stderr.strip().splitlines()[-1]}")


def with_path(folder: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_run_with_the_oldest_pluggy(old_pluggy: Path, tmp_path: Path) -> None:
    small = ("steps=2", "rollout.prompts=2", "rollout.samples=2", "eval.every=0", "rollout.max_response_tokens=8")
    options = [part for setting in small for part in ("--set", setting)]
    done = with_path(old_pluggy, "-c", TRAINING, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"pluggy {OLDEST}" in done.stdout


def test_the_hooks_with_the_oldest_pluggy(old_pluggy: Path) -> None:
    done = with_path(old_pluggy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *HOOKS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ passed", done.stdout)
