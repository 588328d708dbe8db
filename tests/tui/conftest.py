"""Screens in tests: what holds for all of them."""

from __future__ import annotations

import pytest
from textual import _wait

SLICE = 1 / 100
"""Seconds: twice that is waited after each key, which is longer than a frame, so that what was asked to be drawn is drawn;
Textual waits twice a fiftieth of a second, and a test types many"""


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wait, "SLEEP_GRANULARITY", SLICE)
    monkeypatch.setattr(_wait, "SLEEP_IDLE", SLICE / 5)
