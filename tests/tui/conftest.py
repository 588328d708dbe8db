"""Screens in tests: what holds for all of them."""

from __future__ import annotations

import pytest
from textual import _wait

from dapoctl.tui.launch import fit

SLICE = 1 / 100
"""Seconds: twice that is waited after each key, which is longer than a frame, so that what was asked to be drawn is drawn;
Textual waits twice a fiftieth of a second, and a test types many"""


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wait, "SLEEP_GRANULARITY", SLICE)
    monkeypatch.setattr(_wait, "SLEEP_IDLE", SLICE / 5)


@pytest.fixture(autouse=True)
def _no_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form that rests would start a process that takes seconds; `test_launch_fit` lets it."""
    monkeypatch.setattr(fit, "RESTED", 3600.0)
