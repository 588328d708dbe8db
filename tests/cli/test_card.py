"""`dapoctl runs card`: what the hub's own reader makes of it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from huggingface_hub import ModelCard

from dapoctl.config.load import Layers
from dapoctl.config.resolve import resolve
from dapoctl.runs.index import run_directories
from tests.support.cli import Cli
from tests.support.evaluations import evaluate


def test_the_hub_reads_what_was_measured(cli: Cli, trained_copy: Path, trained: Path, tmp_path: Path) -> None:
    (run,) = [path for path in run_directories(trained_copy) if "gkl" in path.name]
    checkpoints = run / "checkpoints"
    checkpoints.symlink_to(trained / run.name / "checkpoints")
    evaluate(run, [], k=2, set_="aime24", step=4, metrics={"eval/aime24/avg@2": 0.125}, data={"source": "owner/set"})
    evaluate(run, [], k=2, set_="again", step=4, metrics={"eval/again/avg@2": 0.5}, data={"source": "owner/set"})
    evaluate(run, [], k=2, set_="torn", step=4, complete=False, metrics={"eval/torn/avg@2": 0.5})
    file = tmp_path / "README.md"
    done = cli("runs", "card", run.name, "--title", "A: `model`", "--output", str(file))
    assert done.returncode == 0, done.stderr
    data = ModelCard.load(file).data
    assert data.model_name == "A: `model`"
    found = {(each.dataset_config, each.metric_type): each.metric_value for each in data.eval_results}
    summary = json.loads((run / "evals" / "arithmetic" / "step_4" / "summary.json").read_text())
    assert found == {
        ("aime24", "avg@2"): 0.125,
        ("again", "avg@2"): 0.5,
        ("arithmetic", "avg@1"): round(summary["metrics"]["eval/arithmetic/avg@1"], 4),
    }
    text = file.read_text()
    assert "## What the reward paid for" in text
    # The configuration in it is the run's.
    layers = Layers()
    layers.add(tomllib.loads(text.split("```toml\n")[1].split("```")[0]), "the card")
    recorded = json.loads((run / "spec.json").read_text())["config"]
    assert resolve(layers).as_dict() == {key: value for key, value in recorded.items() if key != "name"}


def test_what_has_no_card(cli: Cli, trained_copy: Path, trained: Path) -> None:
    run = run_directories(trained_copy)[0]
    assert "has no checkpoint" in cli("runs", "card", run.name).stderr
    (run / "checkpoints").symlink_to(trained / run.name / "checkpoints")
    refused = cli("runs", "card", run.name, "--step", "77")
    assert (refused.returncode, "checkpoints of the steps" in refused.stderr) == (2, True)
    assert cli("runs", "card", "none").returncode == 2
