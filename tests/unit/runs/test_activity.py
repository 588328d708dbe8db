"""What a trainer says of what it does, under a clock that somebody sets while it trains."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dapoctl.runs.attempts import LOCK, PROGRESS, ActivityWriter, read_activity
from dapoctl.runs.files import read_json, write_json
from dapoctl.runs.locks import release, try_lock
from dapoctl.runs.state import LOADING, SILENCE, standing

HOUR = 3600.0


class Clocks:
    """The time of the machine and the monotonic clock: somebody sets the one, nobody the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.steady = time.time(), time.monotonic()
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic", lambda: self.steady)

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_progress_goes_on_when_the_clock_is_set_back(tmp_path: Path, clocks: Clocks) -> None:
    writer = ActivityWriter(tmp_path)
    writer.note("generate", 1, 9)
    clocks.wall -= 2 * HOUR
    clocks.wait(2.0)
    writer.note("generate", 2, 9)
    found = read_activity(tmp_path)
    assert found is not None
    assert (found.done, found.time, found.longest) == (2, clocks.wall, 2.0)


@pytest.mark.parametrize("jump", [25 * HOUR, -2 * HOUR])
def test_a_clock_that_was_set_is_no_silence(tmp_path: Path, clocks: Clocks, jump: float) -> None:
    directory = tmp_path / "20260101-000000-a-0001"
    folder = directory / "attempts" / "1"
    write_json(folder / "proc.json", {})
    held = try_lock(directory / LOCK)
    assert held is not None
    writer = ActivityWriter(folder, step=1)
    writer.note("generate")
    clocks.wall += jump
    clocks.wait(10.0)
    assert standing(directory).state == "running"
    writer.note("update")
    assert read_json(folder / PROGRESS)["longest"] == 10.0
    clocks.wait(SILENCE + 1)
    assert standing(directory).state == "stalled"
    release(held)


def test_a_long_sleep_makes_no_long_silence_usual(tmp_path: Path, clocks: Clocks) -> None:
    directory = tmp_path / "20260101-000000-a-0001"
    folder = directory / "attempts" / "1"
    held = try_lock(directory / LOCK)
    assert held is not None
    folder.mkdir(parents=True)
    writer = ActivityWriter(folder)
    clocks.wait(25 * HOUR)
    writer.note("update")
    clocks.wait(6 * HOUR)
    assert standing(directory).state == "stalled"
    # As it was written before there was a limit.
    write_json(folder / PROGRESS, read_json(folder / PROGRESS) | {"longest": 97201.0})
    assert standing(directory).state == "stalled"
    release(held)


@pytest.mark.parametrize(
    ("step", "phase", "enough"),
    [(3, "generate", SILENCE), (0, "generate", LOADING), (3, "load", LOADING), (0, "", LOADING)],
)
def test_who_says_nothing_is_stalled(tmp_path: Path, clocks: Clocks, step: int, phase: str, enough: float) -> None:
    """Without a phase: a trainer that hangs before its first word."""
    directory = tmp_path / "20260101-000000-a-0001"
    folder = directory / "attempts" / "1"
    write_json(folder / "proc.json", {})
    os.utime(folder / "proc.json", (clocks.wall, clocks.wall))
    held = try_lock(directory / LOCK)
    assert held is not None
    if phase:
        ActivityWriter(folder, step).note(phase)
    clocks.wait(enough - 1)
    assert standing(directory).state == ("running" if phase else "starting")
    clocks.wait(2)
    found = standing(directory)
    assert found.state == "stalled"
    assert found.why.startswith("no word")
    release(held)
