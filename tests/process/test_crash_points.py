"""A run that is killed, or whose disk fails, before a change to the file system; at every one with CRASH_EVERY=1.

Slow: each point is a run that is disturbed, and one that goes on from what it left.
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


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "came"), [([], "killed"), (["--fail"], "told")])
def test_no_change_to_the_disk_is_a_bad_moment(tmp_path: Path, kind: list[str], came: str) -> None:
    every = os.environ.get("CRASH_EVERY", "12")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.crashing", str(tmp_path), "--every", every, *kind],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=3500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["points"] >= 200 // int(every)
    assert found[came] > found["points"] // 4
