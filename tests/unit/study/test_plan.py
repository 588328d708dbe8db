"""From `study.toml` to a plan: what is refused, which runs there are and in which order, and how it is frozen."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest

from dapoctl.config.load import Layers
from dapoctl.config.resolve import resolve
from dapoctl.doctor.gpus import find_gpu
from dapoctl.errors import ConfigError
from dapoctl.study.estimate import estimate
from dapoctl.study.plan import PlannedRun, changes_since, freeze, make_plan
from dapoctl.views import tables
from dapoctl.views.study import estimate_parts
from tests.cli.test_doctor import GEMMA_4B
from tests.support.places import ROOT
from tests.support.studies import STUDY, write_study


def test_a_factorial_with_arms_and_a_pilot(tmp_path: Path) -> None:
    plan = make_plan(write_study(tmp_path))
    assert [*plan.arms] == ["grpo", "tokens", "clip", "dapo", "strict", "chance"]
    assert Counter(run.arm for run in plan.runs) == {
        "grpo": 2,
        "tokens": 2,
        "clip": 2,
        "dapo": 3,
        "strict": 2,
        "chance": 2,
    }
    # The pilot, then a seed after the other.
    assert [run.name for run in plan.runs[:3]] == ["dapo-s1", "dapo-s2", "dapo-s3"]
    assert [run.seed for run in plan.runs[3:]] == [1] * 5 + [2] * 5
    assert [run.arm for run in plan.runs[3:8]] != ["grpo", "tokens", "clip", "strict", "chance"]
    assert plan.runs == make_plan(tmp_path / "study.toml").runs
    components = {name: {*found.pipeline.components} for name, found in plan.resolved.items()}
    assert {"clip", "sequence_mean"} <= components["grpo"]
    assert {"clip_higher", "token_mean"} <= components["dapo"]
    assert plan.resolved["strict"].config.components["clip_higher"]["eps_high"] == 0.21
    assert plan.arms["strict"].against == "dapo"
    assert plan.arms["chance"].against == "grpo"


def test_runs_can_be_started_from_their_records(tmp_path: Path) -> None:
    third = '[factor.overlong]\non = { plugins = ["overlong"] }\n\n[factor.tokens]'
    text = STUDY.replace("[factor.tokens]", third).replace('["clip", "tokens"]', '["clip", "tokens", "overlong"]')
    plan = make_plan(write_study(tmp_path, text))
    assert "clip+tokens" in plan.arms
    for run in (PlannedRun(arm, 2) for arm in plan.arms):
        record = plan.arms[run.arm].resolve(run.seed).as_dict()
        layers = Layers()
        layers.add(record, "spec.json")
        again = resolve(layers)
        assert again.as_dict() == record
        assert again.config.name == run.name


def test_a_name_that_no_run_can_have_is_refused(tmp_path: Path) -> None:
    text = STUDY.replace('none = "grpo"', f'none = "{"g" * 63}"').replace('"grpo"', f'"{"g" * 63}"')
    with pytest.raises(ConfigError, match="`name` = 'ggg"):
        make_plan(write_study(tmp_path, text))


def test_half_of_a_factorial(tmp_path: Path) -> None:
    text = STUDY.replace('factorial = ["clip", "tokens"]', 'factorial = ["clip", "tokens", "overlong"]\nhalf = true')
    text = text.replace("[factor.tokens]", '[factor.overlong]\non = { plugins = ["overlong"] }\n[factor.tokens]')
    text = text.replace('from = "dapo"', 'from = "grpo"').replace('arm = "dapo"', 'arm = "grpo"')
    text = text.replace("clip_higher = { eps_high = 0.21 }", "clip = { eps = 0.21 }").replace('baseline = "dapo"', "")
    plan = make_plan(write_study(tmp_path, text))
    assert [name for name, arm in plan.arms.items() if arm.factors is not None] == [
        "grpo", "tokens+overlong", "clip+overlong", "clip+tokens",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[outcome.middle]\n", "[outcome.middle]\nat = 2\n", "needs exactly one of at, area, reach"),
        ("at = 2\n", 'at = 2\n[set.long]\nk = 0\n', "`set.long.k` = 0: must be greater than or equal to 1"),
        ('metric = "eval/arithmetic/avg@1"\nat = 2\n', 'metric = "eval/long/avg@1"\nat = 2\n[set.long]\n', "is measured once"),
        ('role = "primary"', 'role = "secondary"', "no outcome is primary"),
        ('role = "primary"', 'role = "main"', "`outcome.middle.role` = 'main': must be 'primary', 'secondary', 'guard'"),
        ('"clip", "tokens"]', '"clip", "token"]', "design.factorial names `token`, which is no factor. Did you mean `tokens`?"),
        ('from = "dapo"', 'from = "dappo"', "`arm.strict.from` = 'dappo': no such arm or cell. Did you mean `dapo`?"),
        ('from = "dapo"', 'from = "strict"', "arms begin with each other: strict -> strict"),
        ('baseline = "dapo"', 'baseline = "nobody"', "`design.baseline` = 'nobody': no such arm or cell"),
        ('against = "grpo"', 'against = "gropo"', "`arm.chance.against` = 'gropo': no such arm or cell. Did you mean `grpo`?"),
        ("[arm.strict]", "[arm.grpo]", "[arm.grpo] has the name of a cell"),
        ("eps_high = 0.21", "eps_high = 0.28", "arm `strict` is the same as arm `dapo`"),
        ("eps_high = 0.21", "eps_hig = 0.21", "arm `strict`: unknown key `clip_higher.eps_hig`"),
        ("updates = 2", "updates = 1", "arm `clip`: `clip_higher` does not act in this run"),
        ("area = [0, 4]", "area = [0, 8]", "outcome `middle`: step 8 is beyond the 4 steps of arm `grpo`"),
        ("at = 2", "at = 3", "outcome `second`: step 3 is not evaluated in arm `grpo`: `eval.every` = 2"),
        ("every = 2", "every = 0", "`eval/arithmetic/avg@1` is never measured in arm `grpo`"),
        ("seeds = [1, 2]", "seeds = [1, 1]", "`design.seeds` = [1, 1]: must be different numbers"),
        ("[study]", "[studdy]", "unknown key `studdy`. Did you mean `study`?"),
        ('plugins = ["clip_higher"]', 'plugins = "clip_higher"', "`plugins` = 'clip_higher' (from [factor.clip.on])"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in STUDY
    with pytest.raises(ConfigError) as refused:
        make_plan(write_study(tmp_path, STUDY.replace(old, new, 1)))
    assert words in str(refused.value)


def test_a_placebo_may_be_idle(tmp_path: Path) -> None:
    idle = 'role = "placebo"\nplugins = ["entropy_bonus"]\nentropy_bonus = { coef = 0.0 }'
    plan = make_plan(write_study(tmp_path, STUDY.replace('role = "placebo"\nplugins = ["random_reward"]', idle)))
    (warning,) = plan.warnings
    assert "arm `chance`: `entropy_bonus` does not act in this run" in warning


def test_a_component_of_ones_own_is_an_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from dapoctl import Component, hookimpl\n\n\nclass Mine(Component):\n    weight: float = 0.1\n\n    @hookimpl\n"
        "    def shape_rewards(self, batch):\n        return -self.weight * batch.lengths.float()\n"
    )
    monkeypatch.chdir(tmp_path)
    text = STUDY.replace('plugins = ["random_reward"]', 'plugins = ["./mine.py:Mine"]\nmine = { weight = 0.2 }')
    found = make_plan(write_study(tmp_path, text)).resolved["chance"]
    assert found.config.components["mine"]["weight"] == 0.2


def test_the_plan_is_frozen_and_changes_are_listed(tmp_path: Path) -> None:
    root, path = tmp_path / "runs", write_study(tmp_path)
    plan = make_plan(path)
    first = freeze(plan, root)
    assert first["changes"] == []
    assert freeze(plan, root) == first
    write_study(tmp_path, STUDY.replace("smallest = 0.03", "smallest = 0.05").replace("lr = 1e-4", "lr = 2e-4"))
    changed = make_plan(path)
    assert changed.digest != plan.digest
    ((_, keys),) = changes_since(freeze(changed, root))
    assert "outcome.middle.smallest" in keys
    assert "base.optim.lr" in keys
    assert "every arm: optim.lr" in keys
    assert not any(key.startswith("arm ") for key in keys)
    # Back again: that, too, is a change; and so is one of a single arm.
    write_study(tmp_path, STUDY.replace("eps_high = 0.21", "eps_high = 0.22"))
    known = freeze(make_plan(path), root)
    assert len(known["changes"]) == 2
    assert "arm strict: clip_higher.eps_high" in changes_since(known)[1][1]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments" / "case_study").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_case_studies_can_be_planned(path: Path) -> None:
    plan = make_plan(path)
    assert plan.warnings == ()
    assert "# Shows: " in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "gpu"), [("24gb", "rtx4090"), ("80gb", "h100"), ("8gpu", "h100")])
def test_the_studies_of_gemma_fit_their_gpus_and_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, gpu: str
) -> None:
    """With no more of the model than its configuration, as the hub's library keeps it, and without a network."""
    place = tmp_path / "models--google--gemma-3-4b-it"
    (place / "snapshots" / "main").mkdir(parents=True)
    (place / "snapshots" / "main" / "config.json").write_text(json.dumps(GEMMA_4B))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("main")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    plan = make_plan(ROOT / "experiments" / "case_study" / f"gemma3-4b-{name}.toml")
    found = [*estimate(plan, tmp_path, find_gpu(gpu))]
    assert [each.arm for each in found] == [*plan.arms]
    assert not any(each.problem for each in found)
    for each in found:
        # A frozen copy of all weights beside them leaves little room in 80 GB.
        assert each.tight == ("kl" in each.arm and name != "24gb")
    shown = tables.laid_out(estimate_parts(find_gpu(gpu), found, 120), 120)
    assert ("fits tightly" in shown) == any(each.tight for each in found)
    unknown = [dataclasses.replace(each, report=dataclasses.replace(each.report, memory=None)) for each in found]
    assert "fits" not in tables.laid_out(estimate_parts(find_gpu(gpu), unknown, 120), 120)
    budget = plan.study.study.budget_hours
    assert budget is not None
    assert budget / 2 < sum(each.hours for each in found) <= budget
    # Trained and asked apart: none of what decides is chosen by what the run measures for its curves.
    assert all(resolved.config.checkpoint.keep_best == 0 for resolved in plan.resolved.values())
