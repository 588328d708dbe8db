"""Every shipped experiment resolves, and says what it shows."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from dapoctl.config.resolve import load
from dapoctl.evaluation.inputs import input_problems
from dapoctl.tasks.problem_sets import SETS
from tests.support.cli import Cli
from tests.support.hub_cache import keep, use
from tests.support.places import ROOT

EXPERIMENTS = ROOT / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.toml"))


def test_they_are_there() -> None:
    sizes = {"gemma3-4b-80gb", "gemma3-4b-24gb", "gemma3-1b-t4"}
    assert {path.stem for path in FILES} == {"quickstart", "smollm2-asdiv", "gemma3-270m-gkl"} | sizes


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_resolves_without_warnings(path: Path) -> None:
    resolved = load([path])
    assert resolved.warnings == ()
    assert {"select_prompts", "policy_loss", "build_engine", "load_problems"} <= {*resolved.pipeline.stages()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_says_what_it_shows_and_how_to_run_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "# Shows: " in text
    assert f"dapoctl run -c experiments/{path.name}" in text
    assert f"`{path.name}`" in (EXPERIMENTS / "README.md").read_text(encoding="utf-8")


AIME = {
    "id": 60,
    "problem": "How many minutes does the walk take?",
    "solution": "...",
    "answer": "204",
    "url": "",
    "year": "2024",
}
DAPO = {
    "prompt": "In triangle $ABC$, find $a + b$.", "solution": "34", "data_source": "math_dapo", "source_prompt": [],
    "ability": "MATH", "reward_model": {"ground_truth": "34", "style": "rule-lighteval/MATH_v2"}, "extra_info": {"index": "a"},
}  # fmt: skip
WORD_PROBLEM = {
    "problem": "Seven apples and two more. How many?",
    "answer": "9",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_data_can_be_loaded(path: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns are those of the real sets; the rows are few."""
    cache = tmp_path / "cache"
    keep(
        cache,
        SETS["aime24"].hub,
        "train",
        [AIME | {"id": number, "problem": f"{number} {AIME['problem']}"} for number in range(30)],
    )
    rows = [DAPO | {"prompt": f"Find $a + {number}$."} for number in range(50)]
    keep(cache, SETS["dapo17k"].hub, "train", rows)
    for split, count in (("train", 90), ("test", 30)):
        asked = [{"question": f"{split} {number} and 2?", "answer": "Add them.\n#### 9"} for number in range(count)]
        keep(cache, SETS["gsm8k"].hub, split, asked)
    use(cache, monkeypatch)
    (tmp_path / "data").mkdir()
    lines = [json.dumps(WORD_PROBLEM | {"problem": f"{number} {WORD_PROBLEM['problem']}"}) for number in range(200)]
    (tmp_path / "data" / "asdiv-train.jsonl").write_text("\n".join(lines))
    done = cli("run", "-c", str(path), "--dry-run", "--check-data")
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("data: ")]
    assert "problems to train on" in said
    assert "problems in the evaluation set" in said
    assert "warning" not in done.stderr
    assert tomllib.loads(done.stdout) == load([path]).as_dict()
    assert "warning:" not in done.stderr


def test_a_set_that_is_judged_by_another_rule_than_the_reward_is_told(cli: Cli, tmp_path: Path) -> None:
    """`eval.scorer` is `math` unless it is set, whatever `math.scorer` pays for."""
    rows = [json.dumps({"problem": f"1+{number}?", "answer": str(1 + number)}) for number in range(60)]
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    asked = ("run", "--set", "task=math", "--set", "math.data=d.jsonl", "--dry-run", "--check-data")
    assert "judged by" not in cli(*asked).stderr
    told = cli(*asked, "--set", "math.scorer=math_lenient").stderr
    assert "set `math`, judged by `math`; the reward is `math_lenient`'s" in told
    assert "judged by" not in cli(*asked, "--set", "math.scorer=strict", "--set", "eval.scorer=strict").stderr


def test_data_that_cannot_be_loaded_is_refused_by_a_dry_run_that_looks(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n' * 300 + "{broken")
    asked = ("run", "--set", "task=math", "--set", "math.data=d.jsonl", "--dry-run")
    assert cli(*asked).returncode == 0
    refused = cli(*asked, "--check-data")
    assert refused.returncode == 2
    assert "d.jsonl:301: not JSON" in refused.stderr
    alone = cli("run", "--check-data")
    assert (alone.returncode, "--check-data belongs to --dry-run" in alone.stderr) == (2, True)


def test_the_4b_recipe_reads_sets_that_are_known() -> None:
    """Not files that the repository lacks, nor a hub's set whose columns are no text."""
    resolved = load([EXPERIMENTS / "gemma3-4b-80gb.toml"])
    assert input_problems(resolved.config, resolved.pipeline) == []
    table = resolved.config.components["math"]
    assert {table["data"], table["test_data"]} <= SETS.keys()


def test_the_4b_recipe_is_the_papers() -> None:
    """Yu et al. 2025, Sec. 4.1, where it is not scaled."""
    config = load([EXPERIMENTS / "gemma3-4b-80gb.toml"]).config
    assert (config.optim.lr, config.optim.warmup_steps, config.optim.weight_decay) == (1e-6, 20, 0.1)
    clip = config.components["clip_higher"]
    assert (clip["eps_low"], clip["eps_high"]) == (0.2, 0.28)
    assert config.components["overlong"]["buffer"] == config.rollout.max_response_tokens // 5
    assert (config.eval.k, config.eval.temperature, config.eval.top_p) == (32, 1.0, 0.7)
