"""SIGKILL at 200 random moments of a training run, more than half of them inside its writes.

Slow: 200 kills, and as many resumed runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

pytestmark = pytest.mark.process

KILLS = 200


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_moment_to_be_killed_loses_anything(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killing", str(tmp_path), str(KILLS), "0"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1700,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["killed"] >= KILLS
    assert found["inside a write"] >= KILLS // 3
    assert len(found["by checkpoint"]) >= 4
