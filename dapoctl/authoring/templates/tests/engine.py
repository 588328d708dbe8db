"""Idea against the conformance kit, and its log-probabilities against the trainer's."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

from dapoctl.authoring.templates.components.engine import Idea
from dapoctl.testing import check_component


def test_conforms() -> None:
    check_component(Idea)


def test_the_trainer_sees_the_same_log_probabilities(tmp_path: Path) -> None:
    """A step on the embedded model: what the tokens were drawn from is what the trainer computes for them."""
    engine = f"{inspect.getsourcefile(Idea)}:{Idea.__name__}"
    settings = ["steps=1", "eval.every=0", "rollout.prompts=3", "rollout.samples=2", f"engine={engine}"]
    options = [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "dapoctl", "run", *options, "--runs-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*/metrics.jsonl")
    metrics = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])["metrics"]
    assert metrics["rollout/logprob_mismatch_max"] < 1e-3
