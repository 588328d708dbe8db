"""Idea against the conformance kit and what it writes."""

import json
import math
from pathlib import Path

from dapoctl import RunInfo
from dapoctl.authoring.templates.components.observer import Idea
from dapoctl.testing import check_component


def test_conforms() -> None:
    check_component(Idea)


def test_the_best_step_is_kept_across_a_resume(tmp_path: Path) -> None:
    run = RunInfo(id="run", directory=tmp_path, config={}, components=[], steps=4)
    first = Idea(metric="score")
    first.on_run_start(run)
    for step, value in enumerate([0.25, 0.75, math.nan]):
        first.on_step_end(step, {"score": value})
    resumed = Idea(metric="score")
    resumed.load_state_dict(first.state_dict())
    resumed.on_run_start(run)
    resumed.on_step_end(3, {"score": 0.5})
    resumed.on_run_end("finished")
    written = json.loads((tmp_path / f"{resumed.name}.json").read_text(encoding="utf-8"))
    assert written == {"metric": "score", "value": 0.75, "step": 1, "state": "finished"}
