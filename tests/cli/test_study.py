"""`dapoctl study` on runs that were made by code: what each command says."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dapoctl.config.resolve import Resolved
from dapoctl.evaluation.contamination.probe import Completed, Probe
from dapoctl.study.plan import make_plan
from tests.support.cli import Cli
from tests.support.stores import add_run
from tests.support.studies import write_study

SECTIONS = (
    "Question and answer", "Design", "Before training", "Arms", "Factorial", "Dials", "Curves", "pass@k", "Reward audit",
    "Generalisation", "Efficiency", "Failures", "Provenance", "Limits", "To repeat",
)  # fmt: skip


IDEA = """
from dapoctl import Component, hookimpl


class Shift(Component):
    '''Add a constant to every reward.'''

    by: float = 0.5

    @hookimpl
    def shape_rewards(self, batch):
        return batch.rewards.new_full(batch.rewards.shape, self.by)
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path)


def _pipeline(resolved: Resolved) -> dict[str, dict[str, str]]:
    files = {name: chosen.entry.sha256 for name, chosen in resolved.chosen.items()}
    return {name: {"sha256": files.get(name, "")} for name in resolved.pipeline.components}


def fill(study: Path, failed: Sequence[str] = (), left_out: Sequence[str] = (), spread: float = 0.01) -> None:
    """Finished runs of the study, of which those with clip_higher are 10 points better."""
    plan, rng = make_plan(study), np.random.default_rng(0)
    for number, run in enumerate(plan.runs):
        if run.name in left_out:
            continue
        level = 0.5 + 0.1 * (run.arm in ("clip", "dapo", "strict")) + spread * rng.normal()

        def metrics(step: int, level: float = level) -> dict[str, float]:
            evaluated = {"eval/arithmetic/avg@1": level} if step != 1 else {}
            return {"response/length_mean": 10.0, **evaluated}

        directory = add_run(
            study.parent / "runs", f"20260101-00{number:04}-{run.name}-00{number:02}", name=run.name, steps=4, metrics=metrics,
            state="failed" if run.name in failed else "finished", group=plan.group,
            error="out of memory" if run.name in failed else "",
        )  # fmt: skip
        resolved = plan.arms[run.arm].resolve(run.seed)
        spec = json.loads((directory / "spec.json").read_text())
        spec |= {"config": resolved.as_dict(), "pipeline": _pipeline(resolved)}
        (directory / "spec.json").write_text(json.dumps(spec))
        path = directory / "metrics.jsonl"
        first = {"step": 0, "time": 1.0, "metrics": {"eval/arithmetic/avg@1": level}}
        head, rest = path.read_text().split("\n", 1)
        path.write_text(f"{head}\n{json.dumps(first)}\n{rest}")


def test_a_new_study_can_be_planned_at_once(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("study", "new", "first")
    assert done.returncode == 0, done.stderr
    assert "dapoctl study plan first.toml" in done.stdout
    plan = cli("study", "plan", "first.toml")
    assert plan.returncode == 0, plan.stderr
    assert "15 runs in the group study-first" in plan.stdout
    (tmp_path / "idea.py").write_text(IDEA)
    (tmp_path / "run.toml").write_text("optim.updates = 4\n")
    options = ("--arm", "plain=", "--arm", "mine=./idea.py:Shift", "-c", "run.toml", "-o", "second.toml")
    assert cli("study", "new", "second", *options).returncode == 0
    found = make_plan(tmp_path / "second.toml")
    assert [*found.arms] == ["plain", "mine", "random_reward"]
    assert found.resolved["mine"].config.optim.updates == 4
    assert "shift" in found.resolved["mine"].pipeline.components


def test_a_new_study_that_is_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "there.toml").write_text("")
    for options, words in (
        (["there"], "there.toml is there already"),
        (["a b"], "'a b': a name has letters"),
        (["x", "--arm", "alone=clip"], "takes two arms at least"),
        (["x", "--arm", "clip"], "--arm clip: must be NAME=PLUGIN,PLUGIN"),
    ):
        refused = cli("study", "new", *options)
        assert (refused.returncode, words in " ".join(refused.stderr.split())) == (2, True), refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.toml"]


def test_plan_says_what_would_be_run(cli: Cli, study: Path) -> None:
    done = cli("study", "plan", str(study))
    assert done.returncode == 0, done.stderr
    assert "small: Does anything matter?" in done.stdout
    assert "13 runs in the group study-small" in done.stdout
    assert "placebo: grpo: +random_reward" in done.stdout
    assert "middle: eval/arithmetic/avg@1, mean over steps 0 to 4 (primary, higher is better)" in done.stdout
    assert not (study.parent / "runs").exists()
    found = json.loads(cli("study", "plan", str(study), "--json").stdout)
    assert (found["runs"], len(found["order"]), found["hours_left"]) == (13, 13, None)


def test_status_tells_what_failed(cli: Cli, study: Path) -> None:
    fill(study, failed=["clip-s2"], left_out=["grpo-s1", "strict-s2"])
    done = cli("study", "status", str(study))
    assert done.returncode == 0, done.stderr
    assert "10 finished, 1 failed, 2 missing of 13" in done.stdout
    assert "warning: clip-s2 failed: out of memory" in done.stderr
    found = json.loads(cli("study", "status", str(study), "--json").stdout)
    assert found["states"] == {"finished": 10, "failed": 1, "missing": 2}
    assert found["failed"] == {"clip-s2": "out of memory"}


def test_runs_of_another_configuration_are_not_counted(cli: Cli, study: Path) -> None:
    fill(study)
    study.write_text(study.read_text().replace("eps_high = 0.21", "eps_high = 0.22"))
    found = json.loads(cli("study", "status", str(study), "--json").stdout)
    assert found["states"] == {"finished": 11, "missing": 2}
    told = cli("study", "status", str(study)).stderr
    assert "2 runs of this study's group were made with another configuration" in " ".join(told.split())
    results = json.loads(cli("study", "results", str(study), "--json").stdout)
    assert {run["arm"] for run in results["middle"]["runs"]} == {"grpo", "tokens", "clip", "dapo", "chance"}


def test_runs_of_an_earlier_version_lack_keys_that_have_come_since(cli: Cli, study: Path) -> None:
    fill(study)
    for path in (study.parent / "runs").glob("*/spec.json"):
        spec = json.loads(path.read_text())
        del spec["config"]["arithmetic"]["operands"], spec["config"]["optim"]["beta2"]
        path.write_text(json.dumps(spec))
    assert json.loads(cli("study", "status", str(study), "--json").stdout)["states"] == {"finished": 13}
    study.write_text(study.read_text().replace("steps = 4\n", "steps = 4\n[base.arithmetic]\noperands = 3\n", 1))
    assert json.loads(cli("study", "status", str(study), "--json").stdout)["states"] == {"missing": 13}


def test_runs_of_a_file_that_was_changed_are_not_counted(
    cli: Cli, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "idea.py").write_text(IDEA)
    study.write_text(study.read_text().replace('plugins = ["random_reward"]', 'plugins = ["./idea.py:Shift"]'))
    fill(study)
    assert json.loads(cli("study", "status", str(study), "--json").stdout)["states"] == {"finished": 13}
    (tmp_path / "idea.py").write_text(IDEA + "# changed\n")
    assert json.loads(cli("study", "status", str(study), "--json").stdout)["states"] == {"finished": 11, "missing": 2}


def test_results_say_what_was_planted(cli: Cli, study: Path) -> None:
    fill(study)
    done = cli("study", "results", str(study), COLUMNS="160")
    assert done.returncode == 0, done.stderr
    (clip,) = [line for line in done.stdout.splitlines() if line.startswith("clip ") and line.endswith("better")][:1]
    assert "+10." in clip or "+9." in clip
    found = json.loads(cli("study", "results", str(study), "--outcome", "middle", "--json").stdout)
    assert [*found] == ["middle"]
    effects = {(row["kind"], row["name"]): row for row in found["middle"]["effects"]}
    assert effects["main effect", "clip"]["effect"] == pytest.approx(0.1, abs=0.02)
    assert effects["main effect", "clip"]["low"] > 0
    assert effects["arm", "chance"]["verdict"] in ("not seen", "equivalent within ±0.03")
    assert len(found["middle"]["runs"]) == 13
    wrong = cli("study", "results", str(study), "--outcome", "midle")
    assert (wrong.returncode, "Did you mean `middle`?" in wrong.stderr) == (2, True)


def test_the_report_says_whether_the_model_knew_the_questions(
    cli: Cli, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(study)

    def baseline() -> str:
        assert cli("study", "report", str(study), "-o", str(tmp_path / "out"), "--no-figures").returncode == 0
        return (tmp_path / "out" / "report.md").read_text().partition("## 3.")[2].partition("## 4.")[0]

    assert "was not asked: `dapoctl study probe study.toml` does" in baseline()
    # Sums have no words to complete.
    done = cli("study", "probe", str(study), "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["model"], row["set"], row["refused"][:28]) == ("tiny", "arithmetic", "none of the 8 questions has ")
    assert "not probed: none of the 8 questions" in baseline()
    known = Probe([Completed("a", "one two", "one two"), Completed("b", "three", "four")], 3)
    monkeypatch.setattr("dapoctl.study.probes.probe", lambda *_: known)
    shown = cli("study", "probe", str(study)).stdout
    assert "1 of 2 questions, 50.0% [1.3%, 98.7%], are completed word for word after the first 60%" in " ".join(
        shown.split()
    )
    assert "1 of 2 questions, 50.0% [1.3%, 98.7%], are completed" in baseline().replace("\\", "")


def test_without_runs_there_are_no_results(cli: Cli, study: Path) -> None:
    refused = cli("study", "results", str(study))
    assert refused.returncode == 2
    assert "no run of `small` is finished yet" in refused.stderr


def test_power_from_a_pilot_or_a_number(cli: Cli, study: Path) -> None:
    refused = cli("study", "power", str(study))
    assert (refused.returncode, "run the pilot" in refused.stderr) == (2, True)
    given = cli("study", "power", str(study), "--deviation", "0.02", "--json")
    assert json.loads(given.stdout)["middle"]["deviation"] == 0.02
    fill(study, spread=0.02)
    done = cli("study", "power", str(study))
    assert "(standard deviation, from 3 runs of `dapo`)" in done.stdout
    assert "the smallest effect worth knowing, take" in done.stdout


def test_a_study_that_is_wrong_is_refused_before_anything_starts(cli: Cli, study: Path) -> None:
    study.write_text(study.read_text().replace("[outcome.middle]", "[outcome.middle]\nat = 1"))
    for command in ("plan", "run", "status", "power", "results"):
        refused = cli("study", command, str(study))
        assert refused.returncode == 2
        assert "`outcome.middle`" in refused.stderr
        assert "needs exactly one of" in refused.stderr
        assert "Traceback" not in refused.stderr
    missing = cli("study", "plan", "nowhere.toml")
    assert (missing.returncode, "no configuration file `nowhere.toml`" in missing.stderr) == (2, True)
    assert not (study.parent / "runs").exists()


def test_the_pilot_needs_one(cli: Cli, study: Path) -> None:
    study.write_text(study.read_text().replace("pilot = ", "# pilot = "))
    refused = cli("study", "run", str(study), "--pilot")
    assert (refused.returncode, "--pilot: the study has none" in refused.stderr) == (2, True)


def test_the_report_has_every_section_and_its_figures_inside(cli: Cli, study: Path) -> None:
    fill(study, failed=["chance-s2"])
    done = cli("study", "report", str(study), "--output", "out")
    assert done.returncode == 0, done.stderr
    out = study.parent / "out"
    text, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == [f"{number}. {title}" for number, title in enumerate(SECTIONS, 1)]
    # The planted ten points, in the first section.
    answer = text.split("## 2.")[0]
    assert "- `clip`: better (+" in answer
    assert "chance-s2` failed: out of memory" in text
    assert not re.search(r"\bnan\b", text)
    for name in ("forest.svg", "factorial.svg", "curves.svg"):
        ElementTree.fromstring((out / name).read_text())
        assert f"({name})" in text
    assert page.count("<svg") == 3
    assert "<img" not in page
    # Nothing is fetched when it is opened.
    assert not re.search(r"(src|href)=[\"']?http", page.replace('xlink:href="#', ""))
    effects = (out / "effects.csv").read_text().splitlines()
    assert effects[0].startswith("outcome,kind,name,against,effect,low,high,p")
    assert len((out / "runs.csv").read_text().splitlines()) == 1 + 12 * 3
    # The same again, but for the day.
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert cli("study", "report", str(study), "--output", "out").returncode == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_text_of_the_study_is_no_markup_in_its_report(cli: Cli, study: Path) -> None:
    study.write_text(study.read_text().replace("Does anything matter?", "Does <script>alert(1)</script> | **matter**?"))
    fill(study)
    assert cli("study", "report", str(study), "--output", "out", "--no-figures").returncode == 0
    page = (study.parent / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | **matter**?" in page
    assert not list((study.parent / "out").glob("*.svg"))


def test_without_runs_there_is_no_report(cli: Cli, study: Path) -> None:
    refused = cli("study", "report", str(study))
    assert (refused.returncode, "no run of `small` is finished yet" in refused.stderr) == (2, True)
