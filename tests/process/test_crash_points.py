"""A run that is killed, or whose disk fails, before a change to the file system; at every one with CRASH_EVERY=1.

Slow: each point is a run that is disturbed, and one that goes on from what it left.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.campaigns import campaign

pytestmark = pytest.mark.process


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "came"), [([], "killed"), (["--fail"], "told")])
def test_no_change_to_the_disk_is_a_bad_moment(tmp_path: Path, kind: list[str], came: str) -> None:
    every = os.environ.get("CRASH_EVERY", "12")
    found = campaign("tests.support.crashing", str(tmp_path), "--every", every, *kind, seconds=3500)
    assert found["points"] >= 200 // int(every)
    assert found[came] > found["points"] // 4
