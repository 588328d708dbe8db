"""A hub model's commit is in the records of runs and evaluations. Processes: the libraries read the cache's place once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dapoctl.models import locate
from dapoctl.runs.files import read_json, read_lines
from tests.support.background import SHORT

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.slow
@pytest.mark.process
def test_the_commit_is_recorded(tmp_path: Path) -> None:
    model = tmp_path / "hub" / "hub" / "models--owner--small"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    shutil.copytree(locate("tiny"), model / "snapshots" / COMMIT)

    def call(*arguments: str) -> Path:
        done = subprocess.run(
            [sys.executable, "-m", "dapoctl", *arguments, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False,
            timeout=240, env={**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return tmp_path / json.loads(done.stdout)["directory"]

    settings = ("model=owner/small", "steps=1", "rollout.max_prompt_tokens=32", *SHORT[1:])
    run = call("run", *(part for text in settings for part in ("--set", text)))
    assert read_json(run / "spec.json")["inputs"]["model"] == {"revision": COMMIT}
    assert [row["revision"] for row in read_lines(run / "events.jsonl") if row.get("event") == "model_loaded"] == [
        COMMIT
    ]
    folder = call("eval", "owner/small", "--task", "arithmetic", "-k", "1", "--limit", "2", "--max-tokens", "8")
    assert read_json(folder / "summary.json")["revision"] == COMMIT
    assert read_json(folder.parents[2] / "spec.json")["inputs"]["model"] == {"revision": COMMIT}
