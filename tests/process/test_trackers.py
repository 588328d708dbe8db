"""Runs in wandb (offline) and Trackio: what they wrote is read back from their files, with the real libraries.

Tests with these are slow ones: CI installs the libraries, 100 MB, before those alone. They are processes: each library keeps
threads and services of its own.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from dapoctl_trackers import tracker
from dapoctl_trackers import wandb as wandb_module
from dapoctl_trackers.trackio import Trackio
from dapoctl_trackers.wandb import Wandb

from dapoctl import RunInfo, RunWarning, UserError
from dapoctl.config.schema import RunConfig
from dapoctl.runs.files import read_lines
from tests.support.broken import SMALL, dapoctl, idea, train
from tests.support.processes import run_dapoctl


def needs(library: str) -> pytest.MarkDecorator:
    found = find_spec(library)
    return pytest.mark.skipif(
        found is None or found.origin is None, reason=f"{library} is not installed (pip install 'dapoctl[{library}]')"
    )


LATE = idea(
    """
    @hookimpl
    def on_step_end(self, step):
        if step == 2:
            raise ValueError("to be mended")
    """
)
"""A component that ends a run after its second step"""

READ_WANDB = """
import json, pathlib, struct, sys
from wandb.proto import wandb_internal_pb2 as pb

# LevelDB's log format: blocks of 32 KiB; crc, length, type before each piece (1 whole, 2 first, 3 middle, 4 last).
data = pathlib.Path(sys.argv[1]).read_bytes()
place, piece, found = 7, b"", []
while place + 7 <= len(data):
    if 32768 - place % 32768 < 7:
        place += 32768 - place % 32768
        continue
    _, length, kind = struct.unpack("<IHB", data[place : place + 7])
    piece += data[place + 7 : place + 7 + length]
    place += 7 + length
    if kind in (1, 4):
        record = pb.Record()
        record.ParseFromString(piece)
        piece = b""
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found.append(row | {"step": record.history.step.num})
        if record.HasField("run"):
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            found.append({"run": record.run.run_id, "project": record.run.project, "name": record.run.display_name,
                          "tags": list(record.run.tags), "config": config})
        if record.HasField("exit"):
            found.append({"exit": record.exit.exit_code})
print(json.dumps(found))
"""


def read_wandb(path: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", READ_WANDB, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def only_run(folder: Path) -> Path:
    (directory,) = (path for path in (folder / "runs").iterdir() if not path.name.startswith("."))
    return directory


def own_metrics(directory: Path) -> dict[int, dict[str, Any]]:
    return {row["step"]: row["metrics"] for row in read_lines(directory / "metrics.jsonl") if "metrics" in row}


def same(ours: Any, theirs: Any) -> bool:
    return bool(float(ours) == float(theirs) or (float(ours) != float(ours) and float(theirs) != float(theirs)))


def train_apart(cwd: Path, plugins: str, *settings: str) -> subprocess.CompletedProcess[str]:
    """A small run in a process of its own."""
    options = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
    return run_dapoctl("run", "--plugins", plugins, *options, cwd=cwd)


@pytest.mark.slow
@pytest.mark.process
@needs("wandb")
def test_a_run_in_wandb_goes_on_in_the_same_run(tmp_path: Path) -> None:
    (tmp_path / "my_idea.py").write_text(LATE, encoding="utf-8")
    settings = ("wandb.mode=offline", "wandb.project=small", "wandb.tags=['a','b']", "steps=3")
    assert train_apart(tmp_path, "wandb,./my_idea.py", *settings).returncode == 1
    (tmp_path / "my_idea.py").write_text(LATE.replace("raise ValueError", "print"), encoding="utf-8")
    resumed = run_dapoctl("runs", "resume", "last", "--changed-plugins", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    directory = only_run(tmp_path)
    files = sorted(directory.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    attempts = [read_wandb(path) for path in files]
    for attempt in attempts:
        head = next(item for item in attempt if "run" in item)
        assert (head["run"], head["project"], head["name"]) == (directory.name, "small", directory.name)
        assert head["tags"] == ["a", "b"]
        assert head["config"]["optim"]["lr"] > 0
    assert [item["exit"] for attempt in attempts for item in attempt if "exit" in item] == [1, 0]
    steps = [[item["step"] for item in attempt if "step" in item] for attempt in attempts]
    assert steps == [[1, 2], [2, 3]]
    ours = own_metrics(directory)
    for item in (item for attempt in attempts for item in attempt if "step" in item):
        assert all(same(ours[item["step"]][name], item[name]) for name in ("reward/mean", "policy/entropy"))


@pytest.mark.slow
@pytest.mark.process
@needs("trackio")
def test_a_run_in_trackio_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    (tmp_path / "my_idea.py").write_text(LATE, encoding="utf-8")
    first = train_apart(tmp_path, "trackio,./my_idea.py", "trackio.project=small", "steps=3")
    assert first.returncode == 1
    assert "Trackio" not in first.stdout
    (tmp_path / "my_idea.py").write_text(LATE.replace("raise ValueError", "print"), encoding="utf-8")
    resumed = run_dapoctl("runs", "resume", "last", "--changed-plugins", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    directory = only_run(tmp_path)
    with sqlite3.connect(tmp_path / "trackio" / "small.db") as database:
        rows = database.execute("select run_name, run_id, step, metrics from metrics order by id").fetchall()
        (config,) = database.execute("select config from configs").fetchone()
    database.close()
    assert {name for name, *_ in rows} == {directory.name}
    assert len({run for _, run, *_ in rows}) == 1
    assert [step for *_, step, _ in rows] == [1, 2, 2, 3]
    assert json.loads(config)["steps"] == 3
    ours = own_metrics(directory)
    for *_, step, metrics in rows:
        found = json.loads(metrics)
        assert all(same(ours[step][name], found[name]) for name in ("reward/mean", "policy/entropy"))


@pytest.mark.slow
@pytest.mark.process
@needs("wandb")
def test_values_that_are_not_finite_arrive_in_wandb(tmp_path: Path) -> None:
    follow(Wandb(mode="offline"), tmp_path)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    (row,) = (item for item in read_wandb(path) if "step" in item)
    assert (row["fine"], math.isnan(row["odd"]), row["much"]) == (0.5, True, math.inf)


@pytest.mark.slow
@pytest.mark.process
@needs("trackio")
def test_values_that_are_not_finite_arrive_in_trackio(tmp_path: Path) -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; import pathlib, tests.process.test_trackers as t; "
    code += f"t.follow(t.Trackio(project='odd'), pathlib.Path({str(tmp_path)!r}))"
    env = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120, capture_output=True)
    with sqlite3.connect(tmp_path / "trackio" / "odd.db") as database:
        ((metrics,),) = database.execute("select metrics from metrics").fetchall()
    database.close()
    assert json.loads(metrics) == {"fine": 0.5, "odd": "NaN", "much": "Infinity"}


def run_info(folder: Path) -> RunInfo:
    return RunInfo(id="some-run", directory=folder, config={"steps": 3}, components=[], steps=3)


def follow(component: tracker.Tracker, folder: Path) -> None:
    component.on_run_start(run_info(folder))
    component.on_step_end(1, {"fine": 0.5, "odd": float("nan"), "much": float("inf")})
    component.on_run_end("finished")


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_without_its_package_a_run_is_refused_at_once(name: str, tmp_path: Path) -> None:
    found = find_spec(name)
    if found is not None and found.origin is not None:
        pytest.skip(f"{name} is installed")
    (tmp_path / name).mkdir()  # what an earlier tracked run leaves is no package
    done = dapoctl(tmp_path, "run", "--plugins", name)
    assert done.returncode == 2
    assert (
        f"`{name}` needs the package `{name}`: `pip install {name}` (or `pip install 'dapoctl[{name}]'`)" in done.stderr
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.process
@needs("wandb")
def test_online_without_a_login_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_dapoctl("run", "--plugins", "wandb", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "`wandb` is not logged in: `wandb login`" in done.stderr
    assert "--set wandb.mode=offline" in done.stderr
    assert not (tmp_path / "runs").exists()


# A tracker's troubles (its library replaced by one that fails, since a network's cannot be ordered)


class Failing(tracker.Tracker):
    """Takes no step in `bad`."""

    library = "json"
    bad: list[int] = []
    _taken: list[int] = []

    def begin(self, run: RunInfo) -> None:  # noqa: ARG002
        print("hello")
        if 0 in self.bad:
            raise ConnectionError("no route")

    def send(self, step: int, metrics: Any) -> None:  # noqa: ARG002
        if step in self.bad:
            raise ConnectionError("no route")
        self._taken.append(step)

    def finish(self, state: str) -> None:
        self._taken.append(-1)
        if state == "failed":
            raise ConnectionError("no route")


def follow_steps(component: tracker.Tracker, steps: int) -> None:
    for step in range(1, steps + 1):
        component.on_step_end(step, {})
    component.on_run_end("finished")
    component.close()


def test_a_tracker_that_misses_a_step_warns_once_and_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    component = Failing(bad=[2, 4])
    component.check_run(RunConfig())
    component.on_run_start(run_info(tmp_path))
    with pytest.warns(
        RunWarning, match=r"`failing` did not take step 2: ConnectionError: no route; the run continues"
    ) as told:
        follow_steps(component, 5)
    assert len(told) == 1
    assert component._taken == [1, 3, 5, -1]
    assert capfd.readouterr().out == ""


def test_a_tracker_that_goes_on_failing_is_left_alone(tmp_path: Path) -> None:
    component = Failing(bad=[2, 3, 4])
    component.on_run_start(run_info(tmp_path))
    with pytest.warns(RunWarning) as told:
        follow_steps(component, 7)
    assert [str(item.message) for item in told][1].startswith(
        "`failing` failed 3 times in a row: no more is sent after step 4"
    )
    assert component._taken == [1]


def test_a_tracker_that_cannot_be_started_or_finished_ends_no_run(tmp_path: Path) -> None:
    component = Failing(bad=[0])
    with pytest.warns(RunWarning, match="could not be started"):
        component.on_run_start(run_info(tmp_path))
    component.on_step_end(1, {})
    assert component._taken == []
    other = Failing()
    other.on_run_start(run_info(tmp_path))
    with pytest.warns(RunWarning, match="could not be finished"):
        other.close()


def test_wandb_that_hangs_at_the_end_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        over = Event()

        def finish(self, code: int) -> None:  # noqa: ARG002
            self.over.wait()

    monkeypatch.setattr(wandb_module, "LAST_WORDS", 0.05)
    component = Wandb(mode="offline")
    monkeypatch.setattr(Wandb, "begin", lambda self, _run: setattr(self, "_run", Hanging()))
    component.on_run_start(run_info(tmp_path))
    with pytest.warns(RunWarning, match=r"not everything was sent within 0 s; `wandb sync`"):
        component.on_run_end("finished")
    Hanging.over.set()


def test_a_run_outlives_its_tracker(tmp_path: Path) -> None:
    """The warning is in the run's events and on the terminal; the run is finished."""
    source = (
        "from dapoctl_trackers.tracker import Tracker\n\n\nclass Board(Tracker):\n    library = 'json'\n"
        "    def begin(self, run): ...\n    def send(self, step, metrics):\n        raise TimeoutError('no answer')\n"
        "    def finish(self, state): ...\n"
    )
    (tmp_path / "board.py").write_text(source, encoding="utf-8")
    done = train(tmp_path, "./board.py:Board", "steps=4")
    assert done.returncode == 0, done.stderr
    assert "`board` did not take step 1: TimeoutError: no answer; the run continues without it" in done.stderr
    told = [row["message"] for row in read_lines(only_run(tmp_path) / "events.jsonl") if row.get("event") == "warning"]
    assert len([text for text in told if text.startswith("`board`")]) == 2


def test_a_login_is_not_asked_for_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker.importlib.util, "find_spec", lambda name: type("Spec", (), {"origin": name}))
    Wandb(mode="offline").check_run(RunConfig())
    Trackio().check_run(RunConfig())
    monkeypatch.setattr(tracker.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match="needs the package"):
        Trackio().check_run(RunConfig())
