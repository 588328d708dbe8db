"""A study from its file to its verdicts, killed on the way.

Slow: thirteen runs, each with a supervisor and a trainer of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dapoctl.runs.index import list_runs
from dapoctl.study.plan import make_plan
from tests.support.background import Store, end_waiters, wait_for
from tests.support.studies import STUDY, write_study

LONGER = """
[set.longer]
task = "arithmetic"
set = ["arithmetic.min_digits=5", "arithmetic.max_digits=5"]
k = 2
limit = 3
arms = ["grpo", "dapo"]

[outcome.longer]
metric = "eval/longer/avg@2"
at = "last"
"""

pytestmark = pytest.mark.process


@pytest.mark.slow
def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    study = write_study(tmp_path, STUDY + LONGER)
    store = Store(tmp_path, slots=2)
    command = [sys.executable, "-m", "dapoctl", "study", "run", str(study)]
    first = subprocess.Popen(command, cwd=tmp_path, env=store.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def finished() -> int:
        return sum(run.state == "finished" for run in list_runs(store.root))

    wait_for(lambda: finished() >= 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    # Whoever waited with the queue goes as well, and a run in the middle of it.
    end_waiters(tmp_path)
    running = wait_for(lambda: [run for run in list_runs(store.root) if run.state == "running"])
    process = json.loads((running[0].directory / "attempts" / "1" / "proc.json").read_text())
    for pid in (process["supervisor"]["pid"], process["pid"]):
        os.kill(pid, signal.SIGKILL)
    done = store.call("study", "run", str(study), "--json")
    assert json.loads(done.stdout)["states"] == {"finished": 13}
    names = sorted(run.name for run in list_runs(store.root))
    assert names == sorted(run.name for run in make_plan(study).runs), "each run once"
    found = store.json("study", "results", str(study))
    assert {name: len(each["runs"]) for name, each in found.items()} == dict.fromkeys(found, 13)
    # Of the arms that it names, two runs of the one and three of the other.
    asked = [run for run in found["longer"]["runs"] if run["value"] != "NaN"]
    assert sorted(run["arm"] for run in asked) == ["dapo"] * 3 + ["grpo"] * 2
    assert len([*store.root.glob("*/evals/longer/step_4/summary.json")]) == 5
    assert found["middle"]["freedom"] == 13 - 6
    assert all(row["verdict"] for row in found["middle"]["effects"] if row["kind"] in ("main effect", "arm"))
    # Again: there is nothing left to do.
    again = store.call("study", "run", str(study), "--json")
    assert json.loads(again.stdout)["states"] == {"finished": 13}
    assert len(list_runs(store.root)) == 13
