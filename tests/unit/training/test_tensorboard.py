"""What TensorBoard is given, read back by TensorBoard's own loader."""

from __future__ import annotations

import errno
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from dapoctl_trackers.tensorboard import Tensorboard

from dapoctl import RunInfo, RunWarning
from tests.support.broken import train


def written(folder: Path) -> list[tuple[int, str, Any]]:
    """(step, tag, value) of every event in the folder, in the order of its files."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    found = []
    for path in sorted(folder.iterdir()):
        for event in EventFileLoader(str(path)).Load():
            found += [(event.step, value.tag, make_ndarray(value.tensor)) for value in event.summary.value]
    return found


def test_metrics_and_configuration(tmp_path: Path) -> None:
    component = Tensorboard()
    component.on_run_start(RunInfo("a-run", tmp_path, {"steps": 2, "optim": {"lr": 0.5}}, [], 2))
    component.on_step_end(1, {"reward/mean": 0.25, "odd": math.nan})
    component.close()
    text, point = written(tmp_path / "tensorboard")
    assert (point[0], point[1], float(point[2])) == (1, "reward/mean", 0.25)
    assert text[1] == "config/text_summary"
    assert "[optim]\nlr = 0.5" in text[2].item().decode()


@pytest.mark.parametrize("method", ["__init__", "add_text", "add_scalar", "close"])
def test_its_errors_are_warned_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def fails(*_arguments: Any, **_options: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(SummaryWriter, method, fails)
    component = Tensorboard()
    component.attach("tensorboard", None)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RunWarning)
        component.on_run_start(RunInfo("a-run", tmp_path, {"steps": 2}, [], 2))
        for step in (1, 2):
            component.on_step_end(step, {"reward/mean": 0.25})
        component.close()
    (warning,) = warned
    assert "`tensorboard` cannot write its files (OSError: [Errno 5]" in str(warning.message)


def test_it_can_be_left_out(tmp_path: Path) -> None:
    done = train(tmp_path, "-tensorboard", "steps=1")
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "runs").iterdir()
    assert not (directory / "tensorboard").exists()
