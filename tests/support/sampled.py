"""Responses of a run's training as the trainer stores them, made by code."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dapoctl.runs.files import write_lines
from dapoctl.runs.samples import path_of

Answered = tuple[str, bool]
"""A response, and whether training's rule called it right"""


def add_samples(
    directory: Path,
    steps: Sequence[int],
    respond: Callable[[int, int, random.Random], Answered],
    groups: int = 20,
    size: int = 8,
    terms: Callable[[str], dict[str, float]] = lambda _text: {},
    seed: int = 0,
) -> None:
    """Groups of sums with `size` responses each to a run; `respond` gets the two operands."""
    rng = random.Random(seed)
    for step in steps:
        rows: list[dict[str, Any]] = []
        for _ in range(groups):
            a, b = rng.randrange(10), rng.randrange(10)
            for _ in range(size):
                text, correct = respond(a, b, rng)
                score, extra = (1.0 if correct else -1.0), terms(text)
                rows.append(
                    {"step": step, "round": len(rows) // size, "problem": f"{a}+{b}", "prompt": f"{a}+{b}=",
                     "answer": str(a + b), "response": text, "tokens": len(text), "truncated": False,
                     "outcome": "right" if correct else "wrong", "extracted": None, "score": score, "correct": correct,
                     "terms": extra, "reward": score + sum(extra.values()), "kept": True, "dropped_by": None,
                     "advantage": 0.0, "masked": False}
                )  # fmt: skip
        write_lines(path_of(directory, step), {"kind": "samples", "step": step}, rows)
