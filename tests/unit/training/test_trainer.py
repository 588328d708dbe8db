"""Whole runs of the embedded model: the same twice, the same after a kill, nothing lost on a full disk.

Processes: those that are killed or interrupted. Slow: Ctrl-C, a full disk, the same run twice, kills (there are more in
`tests/process/test_kills.py`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dapoctl.runs.files import read_json, read_lines
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import read_run
from tests.support.cli import dapoctl
from tests.support.helpers import plugin_file
from tests.support.metrics import stable_metrics
from tests.support.stores import add_run

# Every source of state takes part: surplus groups, several updates, a prompt order, an average of the reference.
SETTINGS = (
    "steps=6",
    "rollout.prompts=3",
    "rollout.samples=4",
    "optim.updates=2",
    "optim.lr=1e-4",
    "eval.every=3",
    "eval.limit=8",
    "checkpoint.every=2",
    "dynamic_sampling.max_staleness=2",
    "gkl.prior=ema",
)


def run_command(root: Path, *settings: str) -> list[str]:
    options = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return ["run", "--plugins", "dapo,gkl", *options, "--runs-dir", str(root)]


def start(arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dapoctl", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    root = tmp_path_factory.mktemp("reference")
    done = dapoctl(*run_command(root), cwd=root)
    assert done.returncode == 0, done.stderr
    return find_run(root, "last")


def start_and_wait(root: Path, rows: int) -> subprocess.Popen[str]:
    """A running run that has reported at least `rows` steps."""
    process = start(run_command(root))
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if any(root.glob("[!.]*")) and len(stable_metrics(find_run(root, "last"))) > rows:
            return process
        time.sleep(0.02)
    raise AssertionError(f"the run did not get to step {rows}: {process.communicate()[0]}")


def test_the_run_directory_tells_everything(reference: Path) -> None:
    spec = read_json(reference / "spec.json")
    assert spec["config"]["gkl"]["coef"] == 1e-2
    assert spec["pipeline"]["gkl"]["entry_point"] == "dapoctl_gkl.gkl:Gkl"
    assert spec["pipeline"]["gkl"]["distribution"] == "dapoctl"
    assert spec["argv"][1:3] == ["run", "--plugins"] or "run" in spec["argv"]
    rows = list(read_lines(reference / "metrics.jsonl"))
    assert rows[0]["schema"] == 1
    assert [row["step"] for row in rows[1:]] == [0, 1, 2, 3, 4, 5, 6]
    for name in (
        "reward/mean", "reward/std", "reward/overlong", "score/accuracy", "groups/kept_fraction", "groups/all_wrong",
        "groups/all_right", "groups/responses_per_kept", "response/length_mean", "response/length_max",
        "response/truncated_fraction", "policy/entropy", "policy/clip_fraction_low", "policy/clip_fraction_high",
        "policy/ratio_mean", "policy/ratio_max", "policy/approx_kl", "policy/gkl", "policy/grad_norm",
        "policy/learning_rate", "rollout/logprob_mismatch_mean", "rollout/logprob_mismatch_max",
        "rollout/importance_ess", "time/generate", "time/score", "time/update", "time/sync",
        "throughput/generated_tokens_per_s", "throughput/trained_tokens_per_s", "memory/peak_bytes",
    ):  # fmt: skip
        assert name in rows[2]["metrics"], name
    assert "eval/arithmetic/avg@1" in rows[1]["metrics"]
    samples = [row for row in read_lines(reference / "samples" / "step_1.jsonl") if "response" in row]
    assert {"overlong"} == {*samples[0]["terms"]}
    assert all((row["dropped_by"] is None) == (row["advantage"] is not None) for row in samples)
    assert all(abs(row["reward"] - row["score"] - sum(row["terms"].values())) < 1e-6 for row in samples)
    assert (reference / "evals" / "arithmetic" / "step_6" / "summary.json").is_file()
    assert any((reference / "tensorboard").iterdir())
    assert read_run(reference).state == "finished"
    assert [path.name for path in sorted((reference / "checkpoints").glob("step_*"))] == ["step_4", "step_6"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_metrics(reference: Path, tmp_path: Path) -> None:
    assert dapoctl(*run_command(tmp_path), cwd=tmp_path).returncode == 0
    assert stable_metrics(find_run(tmp_path, "last")) == stable_metrics(reference)


def test_another_seed_gives_others(reference: Path, tmp_path: Path) -> None:
    assert dapoctl(*run_command(tmp_path, "steps=1"), "--seed", "1", cwd=tmp_path).returncode == 0
    assert stable_metrics(find_run(tmp_path, "last"))[1] != stable_metrics(reference)[1]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_killed_and_resumed_is_as_never_killed(reference: Path, tmp_path: Path, rows: int) -> None:
    process = start_and_wait(tmp_path, rows)
    process.kill()
    process.communicate()
    directory = find_run(tmp_path, "last")
    assert read_run(directory).state == "lost"
    resumed = dapoctl("runs", "resume", "last", "--runs-dir", tmp_path, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert stable_metrics(directory) == stable_metrics(reference)
    assert len(list((directory / "attempts").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.process
def test_ctrl_c_saves_and_says_how_to_go_on(reference: Path, tmp_path: Path) -> None:
    process = start_and_wait(tmp_path, 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    directory = find_run(tmp_path, "last")
    assert f"dapoctl runs resume {directory.name}" in output
    assert "Traceback" not in output
    summary = read_run(directory)
    assert summary.state == "stopped"
    assert (directory / "checkpoints" / "latest").read_text().strip() >= f"step_{summary.step}"
    resumed = dapoctl("runs", "resume", directory.name, "--runs-dir", tmp_path, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert stable_metrics(directory) == stable_metrics(reference)


STOPS = """
    import os, signal, torch
    from dapoctl import Component, hookimpl

    class Stops(Component):
        \"\"\"Ask the run to stop in the middle of the third step's update.\"\"\"

        _done: int = 0

        @hookimpl
        def on_step_end(self, step, metrics):
            self._done = step

        @hookimpl
        def regularize(self, tokens):
            if self._done == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return torch.zeros_like(tokens.logprobs)
    """


@pytest.mark.parametrize(("every", "reported"), [(100, 3), (3, 2)])
def test_a_step_is_reported_before_the_stop_unless_its_evaluation_is_due(
    every: int, reported: int, tmp_path: Path
) -> None:
    plugin_file(tmp_path, STOPS, "stops.py")
    settings = ("steps=4", "rollout.prompts=2", "rollout.samples=2", f"eval.every={every}", "eval.limit=4")
    settings += ("rollout.max_response_tokens=12",)
    options = [part for setting in settings for part in ("--set", setting)]
    stopped = dapoctl("run", "--plugins", "grpo,./stops.py", *options, "--runs-dir", "runs", cwd=tmp_path)
    assert stopped.returncode == 130, stopped.stderr
    directory = find_run(tmp_path / "runs", "last")
    assert (directory / "checkpoints" / "latest").read_text().strip() == "step_3"
    assert read_run(directory).step == reported
    resumed = dapoctl("runs", "resume", "last", "--runs-dir", "runs", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    rows = stable_metrics(directory)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert ("eval/arithmetic/avg@1" in rows[3]["metrics"]) == (every == 3)


TALKS = """
    from dapoctl import Component, hookimpl

    class Talks(Component):
        \"\"\"Print more than a pipe holds after the second step.\"\"\"

        @hookimpl
        def on_step_end(self, step, metrics):
            if step == 2:
                print("word " * 100_000, flush=True)
    """
INSISTS = """
    import os, signal
    from dapoctl import Component, hookimpl

    class Insists(Component):
        \"\"\"Ask the run to stop after its second step, and again while that is saved.\"\"\"

        _asked: bool = False

        @hookimpl
        def on_step_end(self, step, metrics):
            if step == 2:
                self._asked = True
                os.kill(os.getpid(), signal.SIGTERM)

        def state_dict(self):
            if self._asked:
                os.kill(os.getpid(), signal.SIGTERM)
            return {}
    """
SMALL = ("steps=5000", "rollout.prompts=2", "rollout.samples=2", "rollout.max_response_tokens=16", "eval.every=0")


def small_run(tmp_path: Path, source: str) -> list[str]:
    plugin_file(tmp_path, source, "mine.py")
    options = [part for setting in SMALL for part in ("--set", setting)]
    return ["run", "--plugins", "grpo,./mine.py", *options, "--runs-dir", "runs"]


@pytest.mark.slow
@pytest.mark.process
def test_a_stop_is_heard_while_the_output_is_being_written(tmp_path: Path) -> None:
    """Python's files must not be written to from a signal's handler that came in the middle of such a write."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = start(small_run(tmp_path, TALKS), cwd=tmp_path, env=buffered)
    deadline = time.monotonic() + 120
    while not (any(tmp_path.glob("runs/2*")) and len(stable_metrics(find_run(tmp_path / "runs", "last"))) >= 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)  # By now the pipe is full.
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output[-2000:]
    directory = find_run(tmp_path / "runs", "last")
    summary = read_run(directory)
    assert (summary.state, summary.step) == ("stopped", 2), summary.why
    assert (directory / "checkpoints" / "latest").read_text().strip() == "step_2"


HANGS_UP = """
    import os, signal
    from dapoctl import Component, hookimpl

    class Hangs(Component):
        \"\"\"The connection is lost after the second step.\"\"\"

        @hookimpl
        def on_step_end(self, step, metrics):
            if step == 2:
                os.kill(os.getpid(), signal.SIGHUP)
    """


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN], ids=["usual", "nohup"])
def test_a_lost_connection_is_a_stop_unless_it_is_ignored(tmp_path: Path, before: signal.Handlers) -> None:
    options = [*small_run(tmp_path, HANGS_UP), "--set", "steps=3"]
    done = dapoctl(*options, cwd=tmp_path, before=lambda: signal.signal(signal.SIGHUP, before))
    directory = find_run(tmp_path / "runs", "last")
    summary = read_run(directory)
    ended = ("stopped", 2, 130) if before == signal.SIG_DFL else ("finished", 3, 0)
    assert (summary.state, summary.step, done.returncode) == ended, done.stderr
    assert (directory / "checkpoints" / "latest").read_text().strip() == f"step_{summary.step}"
    assert (f"dapoctl runs resume {directory.name}" in done.stdout) == (before == signal.SIG_DFL)


def test_being_asked_twice_does_not_hurry_the_checkpoint(tmp_path: Path) -> None:
    done = dapoctl(*small_run(tmp_path, INSISTS), cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    directory = find_run(tmp_path / "runs", "last")
    assert read_run(directory).state == "stopped"
    assert (directory / "checkpoints" / "latest").read_text().strip() == "step_2"


def test_an_attempt_that_cannot_begin_says_why(tmp_path: Path) -> None:
    """The command that a supervisor starts: its exit code alone would tell nobody anything."""
    directory = add_run(tmp_path / "runs", "20260101-000000-a-0001", done=0, state=None)
    spec = read_json(directory / "spec.json")
    spec["config"]["plugins"] = ["no_such_component"]
    (directory / "spec.json").write_text(json.dumps(spec))
    done = dapoctl("runs", "attempt", directory, "1", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    summary = read_run(directory)
    assert summary.state == "failed"
    assert "no_such_component" in summary.why


def test_resuming_what_cannot_be_resumed(reference: Path, tmp_path: Path) -> None:
    done = dapoctl("runs", "resume", reference.name, "--runs-dir", reference.parent, cwd=tmp_path)
    assert done.returncode == 2
    assert "is finished" in done.stderr
    (tmp_path / "foreign").mkdir()
    done = dapoctl("runs", "resume", "foreign", "--runs-dir", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "not a run" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one checkpoint of `tiny` (model, optimizer) but not for two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint(small_disk: Path, tmp_path: Path) -> None:
    done = dapoctl(*run_command(small_disk), cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "no space left" in done.stderr
    assert "the last checkpoint, step_2, is whole" in done.stderr
    assert "Traceback" not in done.stderr
    directory = find_run(small_disk, "last")
    assert not list((directory / "checkpoints").glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    resumed = dapoctl("runs", "resume", "last", "--runs-dir", small_disk, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert read_run(directory).state == "finished"


def test_json_result(tmp_path: Path) -> None:
    options = ("--json", "--set", "steps=1", "--set", "eval.every=0")
    done = dapoctl("run", *options, "--runs-dir", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["state"], result["step"], result["steps"]) == ("finished", 1, 1)


def test_runs_in_an_unwritable_place_say_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = dapoctl("run", "--set", "steps=1", "--runs-dir", blocked, cwd=tmp_path)
    assert done.returncode == 1
    assert str(blocked) in done.stderr
    assert "Traceback" not in done.stderr
