"""Further problems for finished runs: who is asked what, and where outcomes find it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dapoctl.errors import ConfigError
from dapoctl.study.evaluations import asked
from dapoctl.study.outcomes import read_curves
from dapoctl.study.plan import Plan, make_plan
from dapoctl.study.progress import Made, progress
from tests.support.evaluations import evaluate
from tests.support.stores import add_run
from tests.support.studies import STUDY, write_study

SETS = """
[set.longer]
task = "arithmetic"
set = ["arithmetic.max_digits=5"]
k = 2

[set.own]
data = "own.jsonl"
protocol = "greedy"
arms = ["grpo"]
"""


def planned(folder: Path, text: str) -> tuple[Plan, list[Made]]:
    plan = make_plan(write_study(folder, text))
    for number, run in enumerate(plan.runs):
        if run.name != "clip-s2":
            directory = add_run(
                folder / "runs", f"20260101-0000{number:02}-{run.name}-0000", name=run.name, group=plan.group
            )
            record = plan.arms[run.arm].resolve(run.seed)
            spec = directory / "spec.json"
            values = json.loads(spec.read_text()) | {
                "config": record.as_dict(), "pipeline": {name: {} for name in record.pipeline.components}
            }  # fmt: skip
            spec.write_text(json.dumps(values))
    return plan, progress(plan, folder / "runs")


def test_every_finished_run_of_the_arms_is_asked(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("")
    plan, made = planned(tmp_path, STUDY + SETS)
    found = [*asked(plan, made)]
    longer = [each for each in found if each.label == "longer"]
    assert {each.planned.name for each in longer} == {run.name for run in plan.runs} - {"clip-s2"}
    request = longer[0].request
    assert (request.task, request.label, request.settings, request.changes["k"]) == (
        "arithmetic",
        "longer",
        ["arithmetic.max_digits=5"],
        2,
    )
    own = [each for each in found if each.label == "own"]
    assert [each.planned.name for each in own] == ["grpo-s1", "grpo-s2"]
    assert (own[0].request.data, own[0].request.task) == (str(tmp_path / "own.jsonl"), "")


def test_an_arm_that_is_none(tmp_path: Path) -> None:
    plan, made = planned(tmp_path, STUDY + SETS.replace('["grpo"]', '["grpoo"]'))
    with pytest.raises(ConfigError, match="Did you mean `grpo`"):
        list(asked(plan, made))


def test_what_was_asked_later_is_part_of_the_curves(tmp_path: Path) -> None:
    run = add_run(tmp_path, "20260101-000000-grpo-0000", metrics=lambda _step: {"eval/held/avg@4": 0.5})
    metrics = {"longer": 0.25, "held": 0.75, "torn": 0.1}
    for label, value in metrics.items():
        evaluate(run, [], k=4, set_=label, step=24, complete=label != "torn", made="eval",
                 metrics={f"eval/{label}/avg@4": value})  # fmt: skip
    series = read_curves(run).series
    assert series["eval/longer/avg@4"] == [(24, 0.25)]
    assert {value for _, value in series["eval/held/avg@4"]} == {0.5}
    assert "eval/torn/avg@4" not in series
