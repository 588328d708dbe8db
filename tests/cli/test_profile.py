"""`dapoctl run --profile` on the embedded model: times that add up, a trace that opens, numbers that do not change.

Slow: a process that is interrupted while it is profiled, and a run beside one that is not.
"""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from dapoctl.errors import UserError
from dapoctl.runs.files import read_lines
from dapoctl.runs.store import find_run
from dapoctl.training.profiling import Steps, read_profile
from dapoctl.training.tracing import CALLS, Tracer, export, operator_rows
from tests.support.cli import Done, dapoctl
from tests.support.helpers import plugin_file
from tests.support.metrics import stable_metrics

SETTINGS = (
    "steps=4", "rollout.prompts=4", "rollout.samples=8", "rollout.max_response_tokens=48", "optim.updates=2",
    "eval.every=2", "eval.limit=8", "checkpoint.every=2", "gkl.prior=ema",
)  # fmt: skip


def command(root: Path, *arguments: str) -> list[str]:
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    return ["run", "--plugins", "clip_higher,gkl", *options, *arguments, "--runs-dir", str(root)]


def finish(root: Path, *arguments: str) -> Done:
    return dapoctl(*command(root, *arguments), cwd=root)


def rows(directory: Path) -> list[dict[str, Any]]:
    return [row for row in read_lines(directory / "metrics.jsonl") if "metrics" in row]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run's folder, and what the command printed."""
    root = tmp_path_factory.mktemp("profiled")
    done = finish(root, "--profile")
    assert done.returncode == 0, done.stderr
    return find_run(root, "last"), done


def trace(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The complete events of a Chrome trace, by name."""
    events: dict[str, list[dict[str, Any]]] = {}
    for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]:
        if event.get("ph") == "X":
            events.setdefault(event["name"], []).append(event)
    return events


def inside(inner: dict[str, Any], outer: dict[str, Any]) -> bool:
    same = (inner["pid"], inner["tid"]) == (outer["pid"], outer["tid"])
    end, limit = inner["ts"] + inner["dur"], outer["ts"] + outer["dur"]
    return same and outer["ts"] <= inner["ts"] and end <= limit + 1


@pytest.mark.slow
def test_profiling_changes_no_number(profiled: tuple[Path, Any], tmp_path: Path) -> None:
    assert finish(tmp_path).returncode == 0
    plain = find_run(tmp_path, "last")
    assert stable_metrics(profiled[0]) == stable_metrics(plain)
    assert [row["metrics"].keys() for row in rows(profiled[0])] == [row["metrics"].keys() for row in rows(plain)]
    assert not (plain / "profile").exists()


def test_phases_add_up_to_the_step(profiled: tuple[Path, Any]) -> None:
    directory = profiled[0]
    summary = read_profile(directory)
    assert summary is not None
    assert (summary["steps"], summary["traced_step"], summary["device"]) == ([2], 3, "cpu")
    phases = {item["phase"]: item for item in summary["phases"]}
    inner = ("old_logprobs", "forward", "reference", "loss", "backward", "optimizer", "other")
    assert [name for name in phases if "/" in name] == [f"update/{name}" for name in inner]
    outer = {
        "generate",
        "score",
        "shape",
        "estimate",
        "sleep",
        "update",
        "sync",
        "record",
        "eval",
        "checkpoint",
        "other",
    }
    assert {name for name in phases if "/" not in name} == outer
    assert phases["update/optimizer"]["calls"] == 2
    for names, whole in ((outer, summary["seconds"]), ([f"update/{n}" for n in inner], phases["update"]["seconds"])):
        assert sum(phases[name]["seconds"] for name in names) == pytest.approx(whole)
        assert all(phases[name]["seconds"] >= 0 for name in names)
    # By clocks that know nothing of the profile: the times of the lines in metrics.jsonl, and the metrics themselves.
    steps = rows(directory)
    wall = steps[2]["time"] - steps[1]["time"]
    until_reported = summary["seconds"] - phases["checkpoint"]["seconds"]
    assert until_reported == pytest.approx(wall, rel=0.1, abs=0.05)
    for name in ("generate", "update"):
        assert phases[name]["seconds"] == pytest.approx(steps[2]["metrics"][f"time/{name}"], rel=0.02, abs=0.002)
    assert phases["other"]["share"] < 0.1
    assert phases["update/other"]["share"] < 0.1


def test_the_trace_has_the_phases_inside_the_step(profiled: tuple[Path, Any]) -> None:
    directory = profiled[0]
    summary = read_profile(directory)
    assert summary is not None
    assert sorted(path.name for path in (directory / "profile").iterdir()) == ["step_3.json.gz", "summary.json"]
    events = trace(directory / summary["trace"])
    (step,) = events["step"]
    assert step["dur"] / 1e6 == pytest.approx(summary["traced_seconds"], rel=0.02)
    (update,) = events["update"]
    for name in ("generate", "score", "shape", "estimate", "sync", "update"):
        assert all(inside(event, step) for event in events[name]), name
    for name in ("forward", "reference", "loss", "backward", "optimizer"):
        assert events[name], name
        assert all(inside(event, update) for event in events[name]), name
    assert "eval" not in events
    products = [event for event in events["aten::mm"] if any(inside(event, forward) for forward in events["forward"])]
    assert products
    names = [item["operator"] for item in summary["operators"]]
    assert "aten::mm" in names
    assert not {"step", "update", "forward"} & {*names}
    calls = {item["operator"]: item["calls"] for item in summary["operators"]}
    assert calls["aten::mm"] == len(events["aten::mm"])


def test_the_table_shows_what_is_inside_what(profiled: tuple[Path, Done]) -> None:
    directory, done = profiled
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert "  update   " in done.stdout
    assert "    forward   " in done.stdout
    assert any(line.split()[:1] == ["aten::mm"] for line in lines)
    assert str(directory / "profile" / "step_3.json.gz") in done.stdout
    shown = dapoctl("runs", "show", str(directory), cwd=directory)
    assert str(directory / "profile" / "summary.json") in shown.stdout


@pytest.mark.parametrize(("steps", "timed", "traced"), [(1, [1], 1), (2, [2], 2)], ids=["one step", "two steps"])
def test_short_runs_can_be_profiled(steps: int, timed: list[int], traced: int, tmp_path: Path) -> None:
    done = finish(tmp_path, "--profile", "--json", "--set", f"steps={steps}", "--set", "eval.every=0")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    summary = result["profile"]
    assert summary == read_profile(Path(result["directory"]))
    assert (summary["steps"], summary["traced_step"]) == (timed, traced)
    assert trace(Path(result["directory"]) / summary["trace"])["step"]


STOPS = """
    import os, signal
    from dapoctl import Component, hookimpl

    class Stops(Component):
        '''Ctrl-C after the second and the sixth step.'''

        @hookimpl
        def on_step_end(self, step):
            if step in (2, 6):
                os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.slow
def test_a_run_that_goes_on_can_be_profiled(tmp_path: Path) -> None:
    plugin = f"{plugin_file(tmp_path, STOPS)}:Stops"
    assert finish(tmp_path, "--plugins", plugin, "--set", "steps=40").returncode == 130
    directory = find_run(tmp_path, "last")
    resume = ("runs", "resume", str(directory))
    assert len(rows(directory)) - 1 == 2
    wrong = dapoctl(*resume, "--profile-steps", "2-3", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "steps 3 to 40" in wrong.stderr
    right = dapoctl(*resume, "--profile", "--json", cwd=tmp_path)
    assert right.returncode == 130
    assert json.loads(right.stdout)["profile"]["steps"] == [4]
    assert (directory / "profile" / "step_5.json.gz").is_file()


@pytest.mark.slow
@pytest.mark.process
def test_an_interrupted_profile_leaves_a_whole_trace_or_none(tmp_path: Path) -> None:
    arguments = command(tmp_path, "--profile-steps", "2-2", "--set", "steps=40")
    process = subprocess.Popen([sys.executable, "-m", "dapoctl", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 1/40 reward"):
            process.send_signal(signal.SIGINT)
            break
    process.communicate(timeout=120)
    assert process.returncode == 130
    left = [path.name for path in (find_run(tmp_path, "last") / "profile").glob("*")]
    assert left in ([], ["step_2.json.gz", "summary.json"], ["summary.json", "step_2.json.gz"])
    for path in (find_run(tmp_path, "last") / "profile").glob("*.gz"):
        assert trace(path)["step"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile-steps", "x"], ["--profile-steps", "'x'", "3-5"]),
        (["--profile-steps", "3-"], ["--profile-steps", "'3-'"]),
        (["--profile-steps", "3-9"], ["--profile-steps", "3-9", "steps 1 to 4"]),
        (["--profile-steps", "3-2"], ["--profile-steps", "3-2"]),
        (["--profile-steps", "0"], ["--profile-steps", "steps 1 to 4"]),
        (["--profile", "--dry-run"], ["--profile", "--dry-run"]),
    ],
)
def test_mistakes_name_the_fix(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    done = finish(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    for word in words:
        assert word in done.stderr
    assert not [*tmp_path.iterdir()]


def test_operators_are_those_of_torch(tmp_path: Path) -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64), torch.nn.GELU())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as tracer:
        for _ in range(3):
            layers(torch.ones(32, 64)).sum().backward()
    ours = {row["operator"]: row for row in operator_rows(export(tracer, tmp_path / "trace.json.gz"), on_gpu=False)}
    theirs = {item.key: item for item in tracer.key_averages()}
    assert len(ours) == 20
    assert "aten::addmm" in ours
    for name, row in ours.items():
        assert row["calls"] == theirs[name].count, name
        assert row["seconds"] == pytest.approx(theirs[name].self_cpu_time_total / 1e6, rel=0.01, abs=1e-6), name
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json.gz"]


def test_steps() -> None:
    assert Steps.parse("3") == Steps(3, 3)
    assert Steps.parse("3-5").choose(0, 9) == (3, 5)
    assert [Steps().choose(0, steps) for steps in (1, 2, 3, 200)] == [(1, 1), (2, 2), (2, 3), (2, 3)]
    assert Steps().choose(50, 200) == (52, 53)
    with pytest.raises(UserError, match="step 7"):
        Steps(6, 6).choose(6, 7)


@pytest.mark.parametrize("limited", [False, True])
def test_a_gpu_s_trace_has_a_few_calls_of_each_phase_and_no_sampling(limited: bool, tmp_path: Path) -> None:
    """On a CPU, which records what it is told to: a GPU's step has twenty million events."""
    tracer = Tracer(on_gpu=False)
    tracer.calls = CALLS if limited else None
    numbers = torch.ones(4)
    with tracer.phase("generate", 0):
        numbers.sin()
    for earlier in range(5):
        with tracer.phase("update", 0), tracer.phase("forward", earlier):
            numbers.exp()
        numbers.cos()
    tracer.stop()
    found = Counter(event["name"] for event in tracer.export(tmp_path / "trace.json.gz"))
    seen = [found[name] for name in ("update", "forward", "aten::exp", "aten::cos", "aten::sin", "generate")]
    assert seen == ([5, CALLS, CALLS, 5, 0, 0] if limited else [5, 5, 5, 5, 1, 1])
