"""SIGKILL at 200 random moments of a training run, more than half of them inside its writes.

Slow: 200 kills, and as many resumed runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.campaigns import campaign

pytestmark = pytest.mark.process

KILLS = 200


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_moment_to_be_killed_loses_anything(tmp_path: Path) -> None:
    found = campaign("tests.support.killing", str(tmp_path), str(KILLS), "0", seconds=1700)
    assert found["killed"] >= KILLS
    assert found["inside a write"] >= KILLS // 3
    assert len(found["by checkpoint"]) >= 4
