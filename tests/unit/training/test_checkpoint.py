"""Checkpoints of a real learner: at every moment one is whole, and what is not whole or not finite is refused.

Forks, for what a kill leaves: a simulated one would run the code that cleans up.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dapoctl.errors import DivergedError, ModelError, StorageError
from dapoctl.models.loading import load_policy
from dapoctl.runs.checkpoints import FOLDER, STATE, damage_of, newest_first
from dapoctl.runs.manifest import MANIFEST
from dapoctl.training import checkpoint
from dapoctl.training.learner import Learner
from dapoctl.training.step import accumulate_gradient, estimate
from tests.support.learners import make_learner, responses_batch

EXTRA: dict[str, Any] = {"before": {}, "after": {}, "pending": None}


@pytest.fixture
def learner() -> Learner:
    """With moments as an update leaves them."""
    made = make_learner([], checkpoint={"keep": 1, "keep_best": 0})
    for parameter in made.policy.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    made.optimizer.step()
    made.optimizer.zero_grad(set_to_none=True)
    return made


@pytest.fixture
def saved(learner: Learner, tmp_path: Path) -> Path:
    return checkpoint.save(learner, tmp_path, 2, EXTRA)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def killed_before(point: int, work: Callable[[], object]) -> bool:
    """Do `work` in a fork that is killed before its change to the file system with number `point`; whether it was."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def tick() -> None:
            nonlocal seen
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_CREAT)
            if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
                tick()

        fsync = os.fsync
        os.fsync = lambda descriptor: (tick(), fsync(descriptor))[1]
        sys.addaudithook(hook)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.process
@pytest.mark.parametrize(
    ("step", "every"), [(2, 4), pytest.param(2, 1, marks=pytest.mark.slow), pytest.param(3, 1, marks=pytest.mark.slow)]
)
def test_no_kill_leaves_a_run_without_a_whole_checkpoint(
    learner: Learner, tmp_path: Path, step: int, every: int
) -> None:
    """One checkpoint is kept, and it is saved again with more in it (a stop in an evaluation), or the next one is."""
    checkpoint.save(learner, tmp_path, 2, EXTRA | {"pending": {"reward/mean": 0.5}})
    point, seen = 1, set()
    while killed_before(point, lambda: checkpoint.save(learner, tmp_path, step, EXTRA)):
        found = checkpoint.newest(tmp_path)
        assert found.state is not None, point
        assert found.damaged == (), point
        seen.add((found.state["step"], found.state["pending"] is None))
        point += every
    assert point > 30
    assert seen == {(2, False), (step, True)}
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["latest", f"step_{step}"]


@pytest.mark.parametrize("name", ["model/model.safetensors", STATE, "model/tokenizer.json", MANIFEST])
def test_damage_is_named_and_the_checkpoint_before_is_taken(
    learner: Learner, saved: Path, tmp_path: Path, name: str
) -> None:
    learner.config.checkpoint.keep = 2
    damage(checkpoint.save(learner, tmp_path, 4, EXTRA) / name)
    found = checkpoint.newest(tmp_path)
    assert found.path == saved
    (said,) = found.damaged
    assert "step_4` is damaged" in said
    assert name in said
    damage(saved / name)
    with pytest.raises(StorageError, match=r"step_4` is damaged.*step_2` is damaged.*--step 0` begins again"):
        checkpoint.newest(tmp_path)


def test_a_state_that_cannot_be_read_is_named_without_bad_advice(saved: Path, tmp_path: Path) -> None:
    """As versions without a manifest wrote it: what only reading shows."""
    (saved / MANIFEST).unlink()
    torch.save({"step": 2, "optimizer": Path("/evil")}, saved / STATE)
    with pytest.raises(StorageError, match=r"state.pt` cannot be read: it is not the state of a run") as caught:
        checkpoint.read_state(saved)
    assert "weights_only" not in str(caught.value)
    torch.save({"step": 2}, saved / STATE)
    with pytest.raises(StorageError, match=r"it has no optimizer, components"):
        checkpoint.read_state(saved)
    (saved / STATE).write_bytes(b"")
    with pytest.raises(StorageError, match=r"step_2` is damaged: state.pt is empty"):
        checkpoint.newest(tmp_path)
    with pytest.raises(StorageError, match=r"state.pt` cannot be read"):
        checkpoint.read_state(saved)


def test_optimizer_state_of_another_shape_is_refused(learner: Learner, saved: Path) -> None:
    state = checkpoint.read_state(saved)
    moments = state["optimizer"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:-1]
    with pytest.raises(StorageError, match=r"step_2` does not fit .* `exp_avg` of `model.*` has shape"):
        checkpoint.restore(learner, state, saved)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_never_saved(
    learner: Learner, saved: Path, tmp_path: Path, value: float
) -> None:
    name, parameter = [*learner.policy.model.named_parameters()][-1]
    with torch.no_grad():
        parameter.view(-1)[-1] = value
    with pytest.raises(DivergedError, match=rf"step 4: 1 of \d+ trained weights .* `{name}`.*step_2, is kept"):
        checkpoint.save(learner, tmp_path, 4, EXTRA)
    assert [*newest_first(tmp_path)] == [saved]
    assert damage_of(saved) == ""


def test_a_model_without_numbers_is_refused_by_its_name(learner: Learner, saved: Path) -> None:
    with torch.no_grad():
        learner.policy.parameters()[0].fill_(torch.nan)
    learner.policy.save(saved / "model")
    with pytest.raises(ModelError, match=r"step_2/model`: the model's logits are not numbers"):
        load_policy(learner.config, saved / "model")


def test_logits_without_numbers_are_blamed_on_no_component(learner: Learner) -> None:
    with torch.no_grad():
        learner.policy.parameters()[0].fill_(torch.nan)
    batch = estimate(learner, responses_batch(learner.policy))
    with pytest.raises(DivergedError, match=r"log-probabilities are NaN or infinite, before any component saw them"):
        accumulate_gradient(learner, batch)


def test_a_broken_checkpoint_is_called_by_its_path(learner: Learner, saved: Path) -> None:
    (saved / "model" / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"checkpoint `.*step_2/model` cannot be loaded"):
        load_policy(learner.config, saved / "model")
    (saved / "model" / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=r"step_2/model` has no tokenizer_config.json"):
        load_policy(learner.config, saved / "model")


@pytest.mark.parametrize("error", [Exception("I/O error: Input/output error (os error 5)"), OSError(errno.EIO, "EIO")])
def test_an_error_of_a_library_while_it_writes_is_one_of_the_disk(
    learner: Learner, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(_policy: Any, _directory: Path) -> None:
        raise error

    monkeypatch.setattr(type(learner.policy), "save", fails)
    with pytest.raises(StorageError, match=r"step_4 was not saved: .* cannot be written: .*step_2, is whole"):
        checkpoint.save(learner, tmp_path, 4, EXTRA)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["latest", "step_2"]
