"""Whole runs, stopped where it hurts and resumed: components with state go on as if nobody had disturbed them.

Slow: half of the cases, each of which trains twice.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from pydantic import PrivateAttr

from dapoctl import Component
from dapoctl.config.resolve import load
from dapoctl.training.attempt import Result, resume, start
from tests.support.metrics import stable_metrics

pytestmark = pytest.mark.filterwarnings("default::dapoctl.errors.RunWarning")

COMMON = (
    "steps=4", "rollout.prompts=3", "rollout.samples=4", "rollout.max_response_tokens=24", "optim.lr=3e-4",
    "optim.warmup_steps=0", "arithmetic.train_size=12", "eval.every=2", "eval.limit=4", "checkpoint.every=1",
)  # fmt: skip
RUNS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "thompson": (["thompson", "accuracy_range"], ("accuracy_range.max_rounds=3",)),
    "difficulty_pools": (["difficulty_pools", "zero_variance_mask"], ("difficulty_pools.return_after=2",)),
    # The first step is skipped, the second has its groups, the third and fourth have some too many.
    "surplus": (
        ["dynamic_sampling", "truncated_importance"],
        (
            "seed=2", "rollout.samples=3", "rollout.max_response_tokens=64", "rollout.top_p=0.9",
            "dynamic_sampling.max_rounds=2", "dynamic_sampling.on_exhausted=skip", "dynamic_sampling.max_staleness=2",
        ),
    ),
    "ema": (["gkl", "gspo"], ("gkl.prior=ema", "gkl.coef=0.1", "optim.updates=2")),
}  # fmt: skip


class Interrupt(Component):
    """Ctrl-C when the run enters `phase` for the n-th time."""

    phase: str
    time: int

    _last: str = PrivateAttr(default="")
    _entered: int = PrivateAttr(default=0)

    def on_phase(self, phase: str, done: int, total: int) -> None:
        """What a progress display is told."""
        del done, total
        if phase == self.phase != self._last:
            self._entered += 1
            if self._entered == self.time:
                os.kill(os.getpid(), signal.SIGINT)
        self._last = phase


def train(folder: Path, name: str, *observers: Component) -> Result:
    plugins, settings = RUNS[name]
    resolved = load([], [f"plugins={plugins}", *COMMON, *settings])
    return start(resolved, folder, [], observers)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Metrics of every step of a run that nobody stopped, by name; each run is made once."""
    found: dict[str, list[dict[str, Any]]] = {}

    def metrics(name: str) -> list[dict[str, Any]]:
        if name not in found:
            found[name] = stable_metrics(train(tmp_path_factory.mktemp(name), name).directory)
        return found[name]

    return metrics


@pytest.mark.parametrize(
    ("name", "phase", "time"),
    [
        pytest.param("thompson", "generate", 5, marks=pytest.mark.slow),
        pytest.param("difficulty_pools", "generate", 5, marks=pytest.mark.slow),
        pytest.param("surplus", "generate", 5, marks=pytest.mark.slow),
        pytest.param("surplus", "checkpoint", 1, marks=pytest.mark.slow),
        ("ema", "update", 2),
        pytest.param("ema", "eval", 2, marks=pytest.mark.slow),
    ],
)
def test_stopped_anywhere_and_resumed_is_as_never_stopped(
    undisturbed: Any, tmp_path: Path, name: str, phase: str, time: int
) -> None:
    """In a step before its update (given up), in its update (finished first), before its end (the evaluation)."""
    stopped = train(tmp_path, name, Interrupt(phase=phase, time=time))
    assert stopped.state == "stopped"
    assert 0 < stopped.step < 4
    finished = resume(stopped.directory)
    assert finished.state == "finished"
    assert stable_metrics(finished.directory) == undisturbed(name)


def test_the_runs_do_what_they_are_here_for(undisturbed: Any) -> None:
    """Otherwise the test above would hold for want of state."""
    rows = {name: [row["metrics"] for row in undisturbed(name)[1:]] for name in RUNS}
    assert any(row["groups/stale"] for row in rows["surplus"] if "groups/stale" in row)
    assert any(row["groups/trained"] == 0 for row in rows["surplus"])
    assert all(0 < row["truncated_importance/importance_ess"] < 1 for row in rows["surplus"] if row["groups/trained"])
    assert len({row["thompson/expected_accuracy"] for row in rows["thompson"]}) > 2
    assert rows["difficulty_pools"][-1]["difficulty_pools/unseen_fraction"] < 1
    assert any(row["groups/zero_variance"] > 0 for row in rows["difficulty_pools"])
    assert all(row["policy/gkl"] >= 0 for row in rows["ema"])
