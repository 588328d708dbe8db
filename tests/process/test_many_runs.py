"""Many runs, queued by many processes: each runs once, and never more than there is room for.

Slow: forty runs, each with a supervisor and a trainer of its own. QUEUE_PROCESSES=8 QUEUE_EACH=25 queues 200.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dapoctl.runs.attempts import attempts
from dapoctl.runs.files import read_json
from dapoctl.runs.jobs.waiter import waiter
from dapoctl.runs.summary import read_run
from dapoctl.runs.tickets import tickets
from tests.support.background import SHORT, Store, wait_for

pytestmark = pytest.mark.process

PROCESSES, EACH = int(os.environ.get("QUEUE_PROCESSES", "5")), int(os.environ.get("QUEUE_EACH", "5"))
TINY = ("steps=1", *SHORT[1:], "rollout.prompts=1")


def start_queueing(store: Store, name: str, count: int) -> subprocess.Popen[bytes]:
    """A process that queues `count` runs one after the other."""
    options = [part for text in TINY for part in ("--set", text)]
    code = f"""
import sys
from dapoctl.cli import main
for index in range({count}):
    sys.argv = ["dapoctl", "run", "--queue", "--name", f"{name}{{index}}", *{options!r}]
    assert main() == 0
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=store.cwd, env=store.env, stdout=subprocess.DEVNULL, start_new_session=True
    )


def accepted(store: Store, name: str) -> list[str]:
    """The runs named after `name` that wait or were started; a killed process may leave one that it did not queue."""
    waiting = {ticket.run for ticket in tickets(store.root)}
    return [path.name for path in store.root.glob(f"2*-{name}[0-9]*-*") if path.name in waiting or attempts(path)]


def spans(store: Store) -> list[tuple[float, float]]:
    """When each attempt began and ended."""
    found = []
    for directory in sorted(store.root.glob("2*")):
        for folder in attempts(directory):
            found.append((read_json(folder / "proc.json")["started"], read_json(folder / "exit.json")["time"]))
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_runs_of_many_processes_on_two_slots(tmp_path: Path) -> None:
    store = Store(tmp_path, slots=2)
    names = "abcdefghij"[:PROCESSES]
    processes = [start_queueing(store, name, EACH) for name in names]
    # One of them is killed in the middle of it; what it had queued is not lost.
    wait_for(lambda: len(accepted(store, "c")) >= 2)
    processes[2].kill()
    # So is the process that waits with them: whoever comes by starts another.
    if (pid := waiter(store.root)) is not None:
        os.kill(pid, signal.SIGKILL)
    assert [process.wait() for process in processes] == [0, 0, -9, *[0] * (PROCESSES - 3)]
    expected = {run for name in names for run in accepted(store, name)}
    assert len(expected) >= (PROCESSES - 1) * EACH + 2
    wait_for(lambda: all(read_run(store.root / run).state == "finished" for run in expected), 600 + 20 * len(expected))
    assert tickets(store.root) == []
    assert all(len(attempts(store.root / run)) == 1 for run in expected)
    times = spans(store)
    assert len(times) == len(expected)
    edges = sorted([(begin, 1) for begin, _ in times] + [(end, -1) for _, end in times])
    now = most = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    assert most == 2


@pytest.mark.slow
def test_priority_then_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.call("queue", "hold")
    names = [("low", -1), ("first", 0), ("second", 0), ("urgent", 3)]
    for name, priority in names:
        store.run("--queue", "--name", name, "--priority", str(priority), settings=TINY)
    waiting = store.json("queue", "list")
    assert waiting["held"]
    assert len(waiting["waiting"]) == 4
    store.call("queue", "release")
    wait_for(lambda: all(read_run(path).state == "finished" for path in store.root.glob("2*")), 240)
    began = {read_run(path).name: read_json(path / "attempts/1/proc.json")["started"] for path in store.root.glob("2*")}
    assert sorted(began, key=lambda name: began[name]) == ["urgent", "first", "second", "low"]


@pytest.mark.slow
def test_a_run_for_two_slots_gets_its_turn(tmp_path: Path) -> None:
    """One-slot runs keep coming, and each is queued before the two slots are ever free together."""
    store = Store(tmp_path, slots=2)
    for index in range(3):
        store.run("--queue", "--name", f"small{index}", settings=TINY)
    large = store.run("--queue", "--name", "large", "--gpus", "2", settings=TINY)
    after = [store.run("--queue", "--name", f"late{index}", settings=TINY) for index in range(3)]
    wait_for(lambda: all(read_run(path).state == "finished" for path in store.root.glob("2*")), 300)
    began = read_json(large / "attempts/1/proc.json")
    assert len(began["devices"]) == 2
    for path in after:
        assert read_json(path / "attempts/1/proc.json")["started"] > began["started"]


@pytest.mark.slow
def test_a_sweep_is_checked_whole_and_queued_whole(tmp_path: Path) -> None:
    store = Store(tmp_path, slots=2)
    fixed = [part for text in TINY for part in ("--set", text)]
    axes = ["--plugins", "clip_higher", "--axis", "clip_higher.eps_high=0.2,0.28", "--axis", "seed=1,2"]
    planned = store.json("sweep", *axes, *fixed, "--dry-run")["runs"]
    assert [run["name"] for run in planned] == [
        "clip_higher-eps_high0.2-seed1", "clip_higher-eps_high0.2-seed2",
        "clip_higher-eps_high0.28-seed1", "clip_higher-eps_high0.28-seed2",
    ]  # fmt: skip
    assert not store.root.exists()
    wrong = store.call("sweep", *axes[:-2], "--axis", "seed=1,minus", *fixed, code=2)
    assert "`seed` = 'minus'" in wrong.stderr
    assert not store.root.exists()
    made = store.json("sweep", *axes, *fixed)
    assert len(made["runs"]) == 4
    wait_for(lambda: all(read_run(path).state == "finished" for path in store.root.glob("2*")), 240)
    found = store.json("runs", "list", "--filter", f"group={made['group']} and clip_higher.eps_high>0.25")
    assert {run["name"] for run in found} == {"clip_higher-eps_high0.28-seed1", "clip_higher-eps_high0.28-seed2"}
    config = json.loads((Path(found[0]["directory"]) / "spec.json").read_text())["config"]
    assert config["clip_higher"]["eps_high"] == 0.28
