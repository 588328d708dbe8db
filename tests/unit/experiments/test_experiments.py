"""Every shipped experiment resolves, and says what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from dapoctl.config.resolve import load
from dapoctl.evaluation.inputs import input_problems
from dapoctl.tasks.problem_sets import SETS
from tests.support.places import ROOT

EXPERIMENTS = ROOT / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.toml"))


def test_they_are_there() -> None:
    assert {path.stem for path in FILES} >= {"quickstart", "smollm2-asdiv", "gemma3-270m-gkl", "gemma3-4b-dapo"}


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


def test_the_4b_recipe_reads_sets_that_are_known() -> None:
    """Not files that the repository lacks, nor a hub's set whose columns are no text."""
    resolved = load([EXPERIMENTS / "gemma3-4b-dapo.toml"])
    assert input_problems(resolved.config, resolved.pipeline) == []
    table = resolved.config.components["math"]
    assert {table["data"], table["test_data"]} <= SETS.keys()


def test_the_4b_recipe_is_the_papers() -> None:
    """Yu et al. 2025, Sec. 4.1, where it is not scaled."""
    config = load([EXPERIMENTS / "gemma3-4b-dapo.toml"]).config
    assert (config.optim.lr, config.optim.warmup_steps, config.optim.weight_decay) == (1e-6, 20, 0.1)
    clip = config.components["clip_higher"]
    assert (clip["eps_low"], clip["eps_high"]) == (0.2, 0.28)
    assert config.components["overlong"]["buffer"] == config.rollout.max_response_tokens // 5
    assert (config.eval.k, config.eval.temperature, config.eval.top_p) == (32, 1.0, 0.7)
