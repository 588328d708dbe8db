"""Processes of a run whose trainer and supervisor were killed: counted, in the way of what would start beside them, and ended.

Processes: that they are there is the subject. They are real and only sleep.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dapoctl.runs.attempts import PROCESS
from dapoctl.runs.files import read_json, write_json
from dapoctl.runs.jobs import control
from dapoctl.runs.jobs.watch import StoreWatch
from dapoctl.runs.outlived import outlived
from dapoctl.runs.processes import MARK, Identity
from dapoctl.runs.summary import read_run
from tests.support.cli import Done, dapoctl
from tests.support.stores import add_run

pytestmark = pytest.mark.process
NAME = "20260101-000000-a-0001"


def in_store(*arguments: str, root: Path, code: int) -> Done:
    done = dapoctl(*arguments, "--runs-dir", str(root), cwd=root)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run whose attempt left no word: two processes are on record, and neither is there."""
    directory = add_run(tmp_path / "runs", NAME, steps=9, done=3, state=None)
    gone = subprocess.Popen(["sleep", "600"])
    identity = Identity.of(gone.pid).as_dict()
    gone.kill()
    gone.wait()
    write_json(directory / "attempts" / "1" / PROCESS, {"mark": f"{NAME}/1/abc", **identity, "supervisor": identity})
    return directory


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that the trainer left, and one of another run."""
    marks = (f"{NAME}/1/abc", f"{NAME}/1/abc", f"{NAME}/1/another")
    started = [
        subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: mark}, start_new_session=True) for mark in marks
    ]
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_they_are_counted(directory: Path, children: list[subprocess.Popen[bytes]]) -> None:
    left = sorted(child.pid for child in children[:2])
    assert outlived(directory) == left
    done = in_store("runs", "show", "last", root=directory.parent, code=0)
    assert (
        f"2 processes of it still run (PID {left[0]}, {left[1]}); `dapoctl runs stop {NAME}` ends them" in done.stdout
    )
    shown = json.loads(in_store("runs", "show", "last", "--json", root=directory.parent, code=0).stdout)
    assert (shown["state"], shown["outlived"]) == ("lost", left)


def test_children_of_who_trained_in_this_process_are_not_the_runs(directory: Path) -> None:
    identity = Identity.of(os.getpid()).as_dict()
    write_json(directory / "attempts" / "1" / PROCESS, {"mark": f"{NAME}/1/abc", **identity})
    environments = ({}, {MARK: f"{NAME}/1/abc"})
    foreign, own = (subprocess.Popen(["sleep", "600"], env={**os.environ, **extra}) for extra in environments)
    try:
        assert outlived(directory) == [own.pid]
    finally:
        for process in (foreign, own):
            process.kill()
            process.wait()


def test_nothing_starts_beside_them_and_they_keep_their_run(
    directory: Path, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "FAREWELL", 0.1)
    for options in ([], ["--detach"], ["--queue"]):
        done = in_store("runs", "resume", "last", *options, root=directory.parent, code=2)
        assert "is lost, but 2 processes of it still run" in done.stderr
        assert f"`dapoctl runs stop {NAME}` ends them" in done.stderr
    assert "2 processes of it still run" in in_store("runs", "rm", "last", "-y", root=directory.parent, code=2).stderr
    assert len(list((directory / "attempts").iterdir())) == 1
    assert all(child.poll() is None for child in children)


def test_a_stop_ends_them_and_nobody_else(directory: Path, children: list[subprocess.Popen[bytes]]) -> None:
    done = in_store("runs", "stop", "last", root=directory.parent, code=0)
    assert "stopped" in done.stdout
    assert "2 processes that outlived them" in done.stdout
    assert [child.wait() for child in children[:2]] == [-9, -9]
    assert children[2].poll() is None
    assert read_run(directory).state == "stopped"
    assert "is not running: it is stopped" in in_store("runs", "stop", "last", root=directory.parent, code=2).stderr
    assert outlived(directory) == []


def test_how_a_run_ended_is_kept_when_what_outlived_it_ends(
    directory: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    write_json(directory / "attempts" / "1" / "exit.json", {"state": "failed", "error": "it fell over"})
    assert in_store("runs", "stop", "last", root=directory.parent, code=0).stdout.startswith("failed")
    assert [child.wait() for child in children[:2]] == [-9, -9]
    assert (read_run(directory).state, read_run(directory).why) == ("failed", "it fell over")


def test_a_screen_that_shows_the_run_tells(directory: Path, children: list[subprocess.Popen[bytes]]) -> None:
    watch = StoreWatch(directory.parent)
    watch.look(now=0.0)
    for now in (2.0, 4.0):
        (run,) = watch.look({NAME}, now=now).runs
        assert run.why == f"its process is gone and left no word; 2 processes of it still run (PID {_pids(children)})"
    for child in children[:2]:
        child.kill()
        child.wait()
    (run,) = watch.look({NAME}, now=40.0).runs
    assert run.why == "its process is gone and left no word"


def _pids(children: list[subprocess.Popen[bytes]]) -> str:
    return ", ".join(str(pid) for pid in sorted(child.pid for child in children[:2]))


def test_after_a_restart_of_the_machine_nothing_is_theirs(
    directory: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    path = directory / "attempts" / "1" / PROCESS
    write_json(path, read_json(path) | {"boot_id": "an earlier boot"})
    assert outlived(directory) == []
    assert len(children) == 3
