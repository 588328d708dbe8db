"""Runs that end before their last step, once they have cost what they may.

They train, since what a step costs is known once it is done; the one that is stopped and resumed trains twice and is slow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dapoctl.config.resolve import load
from dapoctl.errors import ConfigError
from dapoctl.evaluation.compare.cost import step_cost
from dapoctl.runs.checkpoints import checkpoints
from dapoctl.runs.files import read_json
from dapoctl.runs.interrupt import Stopper
from dapoctl.runs.summary import metric_rows, read_run
from dapoctl.training import attempt
from tests.support.background import SHORT

SETTINGS = (*SHORT[:-1], "steps=6", "eval.every=4", "eval.limit=4", "checkpoint.every=0", "train.threads=1")


def train(root: Path, *changes: str) -> attempt.Result:
    return attempt.start(load([], [*SETTINGS, *changes]), root, ["dapoctl", "run"])


def rows(directory: Path) -> dict[int, Any]:
    return {row["step"]: row["metrics"] for row in metric_rows(directory)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """Of a run that never gets to its limits."""
    result = train(
        tmp_path_factory.mktemp("whole"), "stop_at.generated_tokens=10000000", "stop_at.hours=5", "eval.every=0"
    )
    assert (result.state, result.step, result.ended_by, read_run(result.directory).why) == ("finished", 6, "", "")
    return rows(result.directory)


def test_a_run_ends_after_the_step_that_reaches_its_tokens(tmp_path: Path, whole: dict[int, Any]) -> None:
    tokens = [step_cost(whole[step])[1] for step in range(1, 7)]
    # More than three steps take, and no more than four do.
    limit = round(sum(tokens[:3])) + 1
    result = train(tmp_path, f"stop_at.generated_tokens={limit}", "eval.every=10")
    assert (result.state, result.step, result.steps) == ("finished", 4, 6)
    found = rows(result.directory)
    assert [*found] == [0, 1, 2, 3, 4]
    # It is evaluated and saved there, as at the last step.
    assert "eval/arithmetic/avg@1" in found[4]
    assert [*checkpoints(result.directory)] == [4]
    summary = read_run(result.directory)
    assert summary.state == "finished"
    assert summary.why == result.ended_by
    assert summary.why.startswith(f"`stop_at.generated_tokens` = {limit}: it has sampled ")
    # Up to there it is the same run.
    for step in range(1, 5):
        assert found[step]["reward/mean"] == whole[step]["reward/mean"]


def test_hours(tmp_path: Path) -> None:
    result = train(tmp_path, "stop_at.hours=1e-9", "eval.every=0")
    assert result.step == 1
    assert "`stop_at.hours` = 1e-09" in result.ended_by


@pytest.mark.slow
def test_one_that_is_stopped_and_resumed_ends_at_the_same_step(
    tmp_path: Path, whole: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = round(sum(step_cost(whole[step])[1] for step in range(1, 4))) + 1

    original = attempt.Trainer._step

    def step(self: Any, number: int) -> None:
        original(self, number)
        if number == 2:
            stopper: Stopper = self.stopper
            stopper.requested = True
            with stopper.protected():
                pass

    monkeypatch.setattr(attempt.Trainer, "_step", step)
    result = train(tmp_path, f"stop_at.generated_tokens={limit}", "eval.every=0")
    assert (result.state, result.step) == ("stopped", 2)
    monkeypatch.setattr(attempt.Trainer, "_step", original)
    resumed = attempt.resume(result.directory)
    assert (resumed.state, resumed.step) == ("finished", 4)
    assert resumed.ended_by
    assert read_json(result.directory / "attempts" / "2" / "exit.json")["reason"] == resumed.ended_by


@pytest.mark.parametrize("wrong", ["stop_at.generated_tokens=0", "stop_at.hours=0", "stop_at.tokens=5"])
def test_what_is_wrong_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong.partition("=")[0].replace(".", r"\.")):
        load([], [wrong])
