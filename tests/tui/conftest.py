"""Screens in tests: what holds for all of them."""

from __future__ import annotations

import pytest
from textual import _wait

SLICE = 1 / 200
"""Seconds; Textual looks a fiftieth of a second after each key whether the app has come to rest, and a test types many"""


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wait, "SLEEP_GRANULARITY", SLICE)
    monkeypatch.setattr(_wait, "SLEEP_IDLE", SLICE / 5)
