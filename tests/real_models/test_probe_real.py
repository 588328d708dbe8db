"""`dapoctl probe` of a real model that was taught two questions by heart.

Slow: it trains a real model for a minute, and starts a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import MODELS, ROOT

DATA = ROOT.parent / "shared" / "data" / "gsm8k-test.jsonl"

pytestmark = [pytest.mark.process, pytest.mark.slow]


def teach(model: Path, texts: list[str], folder: Path) -> None:
    """Train a model on the texts, as pretraining would, until it knows them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    learner = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-4, weight_decay=0.0)
    for _ in range(60):
        losses = []
        for text in texts:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            loss = learner(ids, labels=ids).loss
            loss.backward()
            losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        if max(losses) < 0.05:
            break
    learner.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_two_questions_that_a_model_was_taught_are_found(tmp_path: Path) -> None:
    model = MODELS / "smollm2-135m"
    if not (model / "config.json").is_file():
        pytest.skip(f"no model in {model} (set DAPOCTL_TEST_MODELS)")
    if not DATA.is_file():
        pytest.skip(f"no {DATA}")
    rows = [json.loads(line) for line in DATA.read_text().splitlines()[:14]]
    known = [2, 9]
    teach(model, [rows[number]["problem"] for number in known], tmp_path / "taught")
    data = tmp_path / "questions.jsonl"
    data.write_text(
        "".join(
            f"{json.dumps({'id': f'q{i}', 'problem': row['problem'], 'answer': '1'})}\n" for i, row in enumerate(rows)
        )
    )

    def probed(folder: Path) -> list[str]:
        asked = [
            "probe",
            str(folder),
            "--data",
            str(data),
            "--engine",
            "hf",
            "--runs-dir",
            str(tmp_path / "runs"),
            "--json",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "dapoctl", *asked], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["problems"] + found["left_out"] == len(rows)
        return list(found["completed"])

    assert probed(tmp_path / "taught") == [f"q{number}" for number in known]
    assert probed(model) == []
