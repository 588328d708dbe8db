"""Two runs that the trainer made, for tests that look at runs."""

from __future__ import annotations

from pathlib import Path

from dapoctl.config.resolve import load
from dapoctl.runs.files import read_lines
from dapoctl.training import attempt
from tests.support.background import SHORT

SETTINGS = (*SHORT[:-1], "steps=4", "eval.every=2", "eval.limit=8")


def make(root: Path) -> None:
    """One run with a penalty over the vocabulary, and one with the DAPO recipe; four steps each."""
    for seed, plugins in ((1, ["clip_higher", "gkl"]), (2, ["dapo"])):
        overrides = [*SETTINGS, f"seed={seed}"]
        attempt.start(load([], overrides, {"plugins": plugins}), root, ["dapoctl", "run", *overrides])
    for run in root.iterdir():
        rows = [row for row in read_lines(run / "metrics.jsonl") if "metrics" in row]
        # The attempt's log is written by whoever starts a run in the background.
        steps = "".join(f"step {row['step']}/4 reward={row['metrics'].get('reward/mean')}\n" for row in rows)
        (run / "attempts" / "1" / "stdout.log").write_text(f"{steps}finished\n")
