"""From the built wheel to a trained component of one's own, outside of the repository, as a newcomer would.

Slow: a wheel is built, installed and trained with, by commands in a shell.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dapoctl
from tests.support.environments import virtual_environment
from tests.support.places import ROOT

pytestmark = pytest.mark.process


def built_wheel(folder: Path) -> Path:
    """A wheel of this tree, built in a copy of it, so that no build folder is left behind."""
    copy = folder / "source"
    copy.mkdir()
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*")
    for name in ("dapoctl", "plugins"):
        shutil.copytree(ROOT / name, copy / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist")]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_newcomer_s_first_component(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = built_wheel(tmp_path)
    environment = virtual_environment(tmp_path / "venv", with_this_project=False)
    home = tmp_path / "home"
    home.mkdir()

    def sh(command: str, cwd: Path = home) -> str:
        begun = time.perf_counter()
        done = subprocess.run(
            ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        with capsys.disabled():
            print(f"\n{time.perf_counter() - begun:6.1f} s  {command}", end="")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    sh(f"pip install --quiet --no-deps {wheel}")
    where = sh("python -c 'import dapoctl; print(dapoctl.__file__)'")
    assert where.startswith(str(tmp_path / "venv"))

    sh("dapoctl plugins new length-budget")
    package = home / "length-budget"
    sh("sed -i 's/rate: float = Field(0.01/rate: float = Field(0.02/' src/dapoctl_length_budget/component.py", package)
    sh("pip install --quiet -e .", package)
    sh("dapoctl plugins check length_budget", package)
    assert "2 passed" in sh("python -m pytest -q", package)
    sh("dapoctl run --plugins dapo,length_budget --set steps=3 --set eval.limit=16", package)

    (run,) = (package / "runs").glob("2*")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    terms = {row["step"]: row["metrics"].get("reward/length_budget") for row in rows if row["step"]}
    assert sorted(terms) == [1, 2, 3]
    assert all(term is not None and term < 0 for term in terms.values())

    listed = json.loads(sh("dapoctl plugins list --json", package))["components"]
    (mine,) = [item for item in listed if item["name"] == "length_budget"]
    assert (mine["distribution"], mine["version"], mine["stages"]) == (
        "dapoctl-length-budget",
        "0.1.0",
        ["shape_rewards"],
    )
    (clip,) = [item for item in listed if item["name"] == "clip_higher"]
    assert clip["version"] == dapoctl.__version__

    spec = json.loads((run / "spec.json").read_text(encoding="utf-8"))
    recorded = spec["pipeline"]["length_budget"]
    assert recorded["distribution"] == "dapoctl-length-budget"
    assert recorded["version"] == "0.1.0"
    assert spec["config"]["length_budget"] == {"budget": 32, "rate": 0.02}
