"""Components that changed nothing in a whole run are told at its end; those that did once are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dapoctl import Component
from dapoctl.components.pipeline import Pipeline
from dapoctl.config.resolve import load
from dapoctl.runs.files import read_lines
from dapoctl.training.inert import ENOUGH, inert
from tests.support.broken import train

IDLE = """
import torch
from dapoctl import Component, hookimpl


class Idle(Component):
    @hookimpl
    def shape_rewards(self, batch):
        return torch.zeros(len(batch.texts))

    @hookimpl
    def filter_groups(self, batch):
        return torch.ones(len(batch.problems), dtype=torch.bool)

    @hookimpl
    def mask_responses(self, batch):
        return torch.ones(len(batch.texts), dtype=torch.bool)
"""


def pipeline(*plugins: str) -> Pipeline:
    return load([], ["optim.updates=2"], {"plugins": [*plugins]}).pipeline


def rows(count: int = ENOUGH, last: float | None = None, **metrics: float) -> list[dict[str, float]]:
    """Steps that all have `metrics`; in the last one they are all `last`."""
    found = [{name.replace("__", "/"): value for name, value in metrics.items()} for _ in range(count)]
    if last is not None:
        found[-1] = dict.fromkeys(found[-1], last)
    return found


SLIGHT = "penalised nothing to speak of: at most 0 per token, where an advantage is about 1"
CASES = [
    (("overlong",), {"reward__overlong": 0.0}, -0.1, "component `overlong` added 0 to every reward"),
    (("dynamic_sampling",), {"groups__kept_fraction": 1.0}, 0.9, "component `dynamic_sampling` left out no group"),
    (("overlong_filter",), {"response__masked_fraction": 0.0}, 0.1, "component `overlong_filter` masked no response"),
    (
        ("kl",),
        {"policy__kl": 0.0},
        1.01,
        f"component `kl` {SLIGHT}",
    ),
    (
        ("gkl",),
        {"policy__gkl": 0.0},
        1.01,
        f"component `gkl` {SLIGHT}",
    ),
    (("entropy_bonus",), {"policy__entropy": 0.0}, 1.01, f"component `entropy_bonus` {SLIGHT}"),
    (
        ("clip_higher",),
        {"policy__clip_fraction_low": 0.0, "policy__clip_fraction_high": 0.0},
        1e-4,
        "component `clip_higher` clipped no token",
    ),
]


@pytest.mark.parametrize(("plugins", "metrics", "acts", "words"), CASES)
def test_who_never_acted_is_told(plugins: tuple[str, ...], metrics: dict[str, float], acts: float, words: str) -> None:
    (told,) = inert(rows(**metrics), pipeline(*plugins), plugins)
    assert told.startswith(f"{words} in all {ENOUGH} steps: the run would have been the same without it; ")
    assert inert(rows(last=acts, **metrics), pipeline(*plugins), plugins) == []
    assert inert(rows(ENOUGH - 1, **metrics), pipeline(*plugins), plugins) == []


def test_what_was_not_measured_is_not_judged() -> None:
    unknown = {"reward__overlong": float("nan"), "groups__kept": 3.0}
    assert inert(rows(**unknown), pipeline("dapo"), ["overlong", "dynamic_sampling"]) == []


def test_one_clipped_side_is_enough() -> None:
    sides = {"policy__clip_fraction_low": 0.0, "policy__clip_fraction_high": 0.01}
    assert inert(rows(**sides), pipeline("clip_higher"), ["clip_higher"]) == []


def test_who_was_not_asked_for_is_not_judged() -> None:
    assert inert(rows(policy__clip_fraction_low=0.0, policy__clip_fraction_high=0.0), pipeline(), []) == []


def test_a_judge_that_fails_ends_no_run() -> None:
    class Broken(Component):
        def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:
            return str(metrics["there is none"])

    (told,) = inert(rows(reward__mean=1.0), Pipeline([Broken()]), ["broken"])
    assert "component `broken` may not have acted: `did_not_act` raised KeyError" in told


def test_a_run_says_it_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text(IDLE)
    done = train(tmp_path, "overlong,./idle.py", f"steps={ENOUGH}")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").glob("2*")
    said = [row["message"] for row in read_lines(run / "events.jsonl") if row.get("event") == "warning"]
    for words in ("added 0 to every reward", "left out no group", "masked no response"):
        (told,) = [text for text in said if words in text]
        assert "`idle`" in told
        assert told in " ".join(done.stderr.split())
    # The run's own `clip` cannot act with one update, which nobody asked for.
    assert not any("`clip`" in text for text in said)
    # Eight tokens are too few for any answer: every response is overlong.
    assert not any("`overlong`" in text for text in said)
