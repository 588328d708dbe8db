"""`dapoctl eval` of a real model on real problems, through both engines.

Slow: each engine evaluates a real model twice, in processes that can be killed.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dapoctl.evaluation.rescoring import read_responses, rescore
from dapoctl.evaluation.writer import stored_rows
from tests.support.places import MODELS, ROOT

DATA = ROOT.parent / "shared" / "data" / "aime-2024.jsonl"

pytestmark = [pytest.mark.process, pytest.mark.slow]


def command(root: Path, engine: str, *more: str) -> list[str]:
    """The command that evaluates a real model, or a skip that says what is missing."""
    model = MODELS / "smollm2-135m"
    if engine == "vllm" and importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (make vllm)")
    if not (model / "config.json").is_file():
        pytest.skip(f"no model in {model} (set DAPOCTL_TEST_MODELS)")
    if not DATA.is_file():
        pytest.skip(f"no {DATA}")
    asked = ["eval", str(model), "--task", "aime24", "--data", str(DATA), "--engine", engine, "--runs-dir", str(root)]
    return [sys.executable, "-m", "dapoctl", *asked, "--max-tokens", "24", *more]


def ask(arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run([*arguments, "--json"], capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("engine", ["hf", pytest.param("vllm", marks=pytest.mark.xdist_group("vllm"))])
def test_killed_and_resumed_on_real_problems(tmp_path: Path, engine: str) -> None:
    arguments = command(tmp_path, engine, "-k", "8", "--limit", "12")
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not any(len(stored_rows(path)) for path in tmp_path.glob("*/evals/aime24/step_0")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    (folder,) = tmp_path.glob("*/evals/aime24/step_0")
    before = stored_rows(folder)
    found = ask(arguments)
    rows = stored_rows(folder)
    assert rows[: len(before)] == before
    assert len(rows) == 12 * 8
    assert found["complete"] is True
    assert found["protocol"]["engine"] == engine
    assert all(0 < row["tokens"] <= 24 for row in rows)
    # Integers: the public scorer and `math` tell the same of what follows `Answer:` in a plain form.
    counts = rescore(read_responses(folder / "samples.jsonl"), ["math"]).counts()
    assert counts["math"] == counts["stored"]
