"""The launch form says whether a run fits the machine, as the doctor does.

Slow: the doctor of one screen is a process of its own, which loads torch; what the others draw was printed by it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dapoctl.tui.launch import fit
from dapoctl.tui.launch.fit import Fit, verdict_of
from dapoctl.tui.launch.form.choice import Choice
from dapoctl.tui.launch.form.verdict import Verdict, examine
from dapoctl.tui.launch.launch_text import verdict_text
from tests.support.cli import Cli
from tests.support.launch_screen import opened, to_part
from tests.support.tui import NARROW, bench, play

GEMMA = {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 2560,
         "num_hidden_layers": 34, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
         "intermediate_size": 10240, "vocab_size": 262208, "sliding_window": 1024}  # fmt: skip
"""The shape of Gemma 3 4B"""


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return examine(Choice())


def report(cli: Cli, *options: str) -> dict[str, Any]:
    done = cli("doctor", *options, "--json")
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_fits_is_ready_and_says_how_much_it_takes(cli: Cli, verdict: Verdict) -> None:
    found = verdict_of(report(cli, "--gpu-memory", "24"))
    text = verdict_text(verdict, (), pending=False, fit=found).plain.splitlines()
    assert text[0].startswith("✓ ready: ")
    assert text[1].startswith("✓ fits: about ")
    assert text[1].endswith("of the 24.0 GiB in a GPU of 24 GiB")


def test_what_does_not_fit_is_not_ready_and_says_what_helps(cli: Cli, verdict: Verdict, tmp_path: Path) -> None:
    (tmp_path / "gemma").mkdir()
    (tmp_path / "gemma" / "config.json").write_text(json.dumps(GEMMA))
    found = verdict_of(report(cli, "--gpu-memory", "24", "--set", "model=gemma", "--set", "rollout.samples=16"))
    text = verdict_text(verdict, (), pending=False, fit=found).plain
    assert "ready" not in text
    assert "✗ does not fit: about " in text
    assert "✗ it would fit with --set " in text
    assert "lora.rank=" in text


def test_a_package_that_is_missing_is_told() -> None:
    check = {"name": "vllm", "status": "fail", "text": "not installed", "fix": "pip install 'dapoctl[vllm]'"}
    found = verdict_of({"environment": [check], "run": [], "advice": []})
    assert found == Fit("fail", ("vllm: not installed → pip install 'dapoctl[vllm]'",))


@pytest.mark.slow
def test_a_form_that_rests_asks_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "RESTED", 0.1)

    async def story() -> None:
        async with bench(tmp_path / "runs", size=NARROW) as view:
            screen = await opened(view)
            await view.until("✓ fits: about ", 60)
            assert "✓ ready: " in view.text
            assert screen.fit is not None
            # Another choice is another question.
            monkeypatch.setattr(fit, "RESTED", 3600.0)
            await to_part(view, "gkl")
            await view.press("space")
            await view.until(lambda _: screen.fit is None, 10)

    play(story())
