"""Runs that go on from checkpoints which are damaged, old, copied or chosen, and runs that lose what is not theirs to lose.

It trains, since what is resumed has to end as what was never disturbed: a run of four steps takes about a second.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import PrivateAttr

from dapoctl import Component, hookimpl
from dapoctl.config.resolve import load
from dapoctl.errors import DivergedError, StorageError
from dapoctl.runs.checkpoints import FOLDER, STATE, checkpoints, latest
from dapoctl.runs.files import read_json, read_lines, write_json
from dapoctl.runs.manifest import MANIFEST
from dapoctl.runs.summary import read_run
from dapoctl.training import checkpoint
from dapoctl.training.attempt import Result, resume, start
from tests.support.cli import Cli
from tests.support.metrics import stable_metrics

SETTINGS = (
    "steps=4", "rollout.prompts=2", "rollout.samples=2", "rollout.max_response_tokens=8", "optim.lr=1e-4", "eval.every=0",
    "checkpoint.every=1", "checkpoint.keep=5", "train.threads=1",
)  # fmt: skip


class Asks(Component):
    """Asks the run to stop in its fourth step, after the checkpoint of the third."""

    _saved: int = PrivateAttr(default=0)
    _last: str = PrivateAttr(default="")

    def on_phase(self, phase: str, done: int, total: int) -> None:
        """What a progress display is told."""
        del done, total
        entered, self._last = phase != self._last, phase
        self._saved += entered and phase == "checkpoint"
        if entered and phase == "generate" and self._saved == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    @property
    def saved(self) -> int:
        """How often a checkpoint was begun."""
        return self._saved


def train(root: Path, *settings: str, observers: Sequence[Component] = ()) -> Result:
    return start(load([], [*SETTINGS, *settings], {"plugins": ["grpo"]}), root, [], observers)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return stable_metrics(train(tmp_path_factory.mktemp("undisturbed")).directory)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Asks]:
    observer = Asks()
    result = train(tmp_path_factory.mktemp("stopped"), observers=[observer])
    assert result.state == "stopped"
    return result.directory, observer


@pytest.fixture
def stopped(once: tuple[Path, Asks], tmp_path: Path) -> Path:
    """A run with checkpoints of three of its four steps."""
    return Path(shutil.copytree(once[0], tmp_path / "runs" / once[0].name))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(directory: Path, step: int, name: str = "model/model.safetensors") -> None:
    path = directory / FOLDER / f"step_{step}" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_lines(directory / "events.jsonl") if row.get("event") == kind]


def test_a_stop_after_a_checkpoint_does_not_write_it_again(once: tuple[Path, Asks]) -> None:
    directory, observer = once
    assert observer.saved == 3
    assert names(directory / FOLDER) == ["latest", "step_1", "step_2", "step_3"]


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(stopped: Path, undisturbed: Any) -> None:
    damage(stopped, 3)
    result = resume(stopped)
    (warning,) = result.warnings
    assert "step_3` is damaged: model/model.safetensors has other contents" in warning
    assert warning.endswith("the run goes on from step_2")
    assert [row["step"] for row in events(stopped, "resumed")] == [2]
    assert stable_metrics(stopped) == undisturbed
    assert [checkpoint.newest(stopped).path, [*checkpoints(stopped)]] == [latest(stopped), [1, 2, 3, 4]]


def test_checkpoints_of_earlier_versions_and_copies_beside_them_do_no_harm(stopped: Path, undisturbed: Any) -> None:
    for path in checkpoints(stopped).values():
        (path / MANIFEST).unlink()
    root = stopped / FOLDER
    shutil.copytree(root / "step_2", root / "step_2_best")
    shutil.copytree(root / "step_2", root / "step_99")
    (root / "step_of_mine.txt").write_text("mine")
    result = resume(stopped)
    (warning,) = result.warnings
    assert "step_99` is damaged: it is a copy of the checkpoint of step 2" in warning
    assert [row["verified"] for row in events(stopped, "resumed")] == [False]
    assert stable_metrics(stopped) == undisturbed
    assert (root / "latest").read_text() == "step_4\n"
    assert {"step_2_best", "step_of_mine.txt", "step_1", "step_4"} <= {*names(root)}


def test_resume_from_a_chosen_step(stopped: Path, undisturbed: Any, cli: Cli) -> None:
    done = cli("runs", "resume", str(stopped), "--step", "1")
    assert done.returncode == 0, done.stderr
    assert "step_2.set-aside" in done.stderr
    assert [row["step"] for row in events(stopped, "resumed")] == [1]
    assert stable_metrics(stopped) == undisturbed
    assert (stopped / FOLDER / "step_3.set-aside" / STATE).is_file()


def test_without_a_whole_checkpoint_nothing_is_lost_until_the_user_says_so(
    stopped: Path, undisturbed: Any, cli: Cli
) -> None:
    before = stable_metrics(stopped)
    for step in (1, 2, 3):
        damage(stopped, step, STATE)
    with pytest.raises(StorageError, match=r"--step 0` begins again"):
        resume(stopped)
    assert stable_metrics(stopped) == before
    (stopped / "attempts" / "2").mkdir()
    with pytest.raises(StorageError):
        resume(stopped, attempt=2)
    assert "--step 0` begins again" in read_run(stopped).why
    refused = cli("runs", "resume", str(stopped), "--step", "3")
    assert refused.returncode == 1
    assert "step_3` is damaged: state.pt" in refused.stderr
    assert cli("runs", "resume", str(stopped), "--step", "7").returncode == 2
    assert cli("runs", "resume", str(stopped), "--step", "0").returncode == 0
    assert stable_metrics(stopped) == undisturbed


def test_another_version_of_a_library_is_told_and_noted(stopped: Path) -> None:
    spec = read_json(stopped / "spec.json")
    now, spec["versions"]["torch"] = spec["versions"]["torch"], "2.1.0"
    write_json(stopped / "spec.json", spec)
    (warning,) = resume(stopped).warnings
    assert f"torch 2.1.0 -> {now}" in warning
    assert "from step 4 on" in warning
    (event,) = events(stopped, "versions_changed")
    assert (event["versions"], event["step"]) == ({"torch": ["2.1.0", now]}, 3)


def test_an_optimizer_without_numbers_ends_the_run_at_the_step_it_spoils(stopped: Path) -> None:
    path = stopped / FOLDER / "step_3"
    (path / MANIFEST).unlink()
    state = checkpoint.read_state(path)
    for moments in state["optimizer"]["state"].values():
        moments["exp_avg"].fill_(torch.nan)
    torch.save(state, path / STATE)
    with pytest.raises(DivergedError, match=r"step 4: .* trained weights are NaN or infinite.*step_3, is kept"):
        resume(stopped)
    summary = read_run(stopped)
    assert (summary.state, summary.step) == ("failed", 3)
    assert "optimizer state" in summary.why
    assert latest(stopped) == path


def test_what_is_damaged_is_not_evaluated(stopped: Path, cli: Cli) -> None:
    damage(stopped, 3)
    options = ("--task", "arithmetic", "--limit", "2", "-k", "1", "--max-tokens", "4")
    refused = cli("eval", str(stopped), "--step", "3", *options)
    assert refused.returncode == 1
    assert "step_3` is damaged: model/model.safetensors has other contents" in refused.stderr
    assert "--step 2" in refused.stderr
    done = cli("eval", str(stopped), *options)
    assert done.returncode == 0, done.stderr
    assert "step 2 is evaluated instead" in done.stderr
    assert [path.name for path in stopped.glob("evals/*/*")] == ["step_2"]


def test_verify_says_what_is_whole(stopped: Path, cli: Cli) -> None:
    root = str(stopped.parent)
    done = cli("runs", "verify", "--runs-dir", root)
    assert done.returncode == 0, done.stdout
    assert done.stderr == "nothing is damaged\n"
    damage(stopped, 2, "model/tokenizer.json")
    (stopped / FOLDER / "step_1" / MANIFEST).unlink()
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write("{]\n")
    done = cli("runs", "verify", stopped.name, "--runs-dir", root, "--json")
    assert done.returncode == 1
    rows = [(row["step"], row["state"], row["problem"]) for row in json.loads(done.stdout)]
    assert rows == [
        (None, "damaged", "metrics.jsonl: line 5 is damaged"),
        (3, "whole", ""),
        (2, "damaged", "model/tokenizer.json has other contents than were written"),
        (1, "unverified", ""),
    ]
    text = cli("runs", "verify", "--runs-dir", root)
    assert text.stdout.splitlines()[0].split() == ["RUN", "PART", "STATE", "SIZE", "PROBLEM"]
    assert text.stderr == "2 damaged\n"


class Full(Component):
    """A display on a disk without room."""

    def fail(self) -> None:
        """What writing comes to."""
        raise OSError(errno.ENOSPC, "No space left on device")


class OfSteps(Full):
    """Shows steps."""

    @hookimpl
    def on_step_end(self) -> None:
        self.fail()


class OfTheEnd(Full):
    """Shows the end."""

    @hookimpl
    def on_run_end(self) -> None:
        self.fail()


class OfPhases(Full):
    """Shows what goes on."""

    def on_phase(self, _phase: str, _done: int, _total: int) -> None:
        """What a progress display is told."""
        self.fail()


def test_a_display_that_cannot_write_ends_no_run(stopped: Path) -> None:
    displays = {"steps": OfSteps(), "end": OfTheEnd(), "phases": OfPhases()}
    for name, display in displays.items():
        display.attach(name, None)
    result = resume(stopped, [*displays.values()])
    assert result.state == "finished"
    assert read_run(stopped).state == "finished"
    assert sorted(result.warnings) == [
        f"`{name}` cannot be written to (No space left on device); the run continues without it"
        for name in sorted(displays)
    ]
