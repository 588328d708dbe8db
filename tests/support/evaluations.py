"""Runs with evaluations as they lie in the store, made up for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dapoctl.runs.files import write_json, write_lines

PROTOCOL = {
    "name": "default",
    "temperature": 1.0,
    "top_p": 0.7,
    "k": 4,
    "max_tokens": 512,
    "seed": 0,
    "scorer": "math",
    "instruction": "Solve this.\n\n{problem}\n\nThe last line is Answer: $Answer.",
    "template": "plain",
    "engine": "hf",
}
SPEC = {
    "schema": 1,
    "created": 1.7e9,
    "config": {"steps": 100, "seed": 0, "model": {"path": "tiny"}, "optim": {"lr": 1e-6}},
    "pipeline": {"grpo": {}, "clip": {}},
}


def row(problem: str, sample: int, right: bool, **changed: Any) -> dict[str, Any]:
    """One response."""
    values = {
        "problem": problem,
        "sample": sample,
        "prompt": f"What is {problem}?",
        "answer": "7",
        "response": f"Let me see. Answer: {7 if right else 8}",
        "tokens": 10 + sample,
        "truncated": False,
        "outcome": "right" if right else "wrong",
        "extracted": "7" if right else "8",
        "correct": right,
    }
    return values | changed


def rows_of(counts: Mapping[str, int], k: int) -> list[dict[str, Any]]:
    """`k` responses to each problem, the first `counts[problem]` of them right."""
    return [row(name, sample, sample < right) for name, right in counts.items() for sample in range(k)]


def counted(counts: Sequence[int]) -> dict[str, int]:
    """Numbers of right responses by made-up ids."""
    return {f"p{place:02}": count for place, count in enumerate(counts)}


def make_run(root: Path, name: str, **changed: Any) -> Path:
    """A finished run; `config` and `pipeline` go over those of `SPEC`."""
    directory = root / name
    spec = {**SPEC, "id": name, "name": "-".join(name.split("-")[2:-1]), **changed}
    spec["config"] = SPEC["config"] | dict(changed.get("config", {}))
    write_json(directory / "spec.json", spec)
    write_json(directory / "attempts" / "1" / "exit.json", {"state": "finished"})
    return directory


def evaluate(
    directory: Path,
    rows: Sequence[dict[str, Any]],
    *,
    k: int = 4,
    set_: str = "aime24",
    step: int = 100,
    complete: bool = True,
    protocol: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    **changed: Any,
) -> Path:
    """Write an evaluation as `dapoctl eval` does; the folder."""
    folder = directory / "evals" / set_ / f"step_{step}"
    names = sorted({row["problem"] for row in rows})
    write_lines(folder / "samples.jsonl", {"kind": "eval", "set": set_, "step": step}, rows)
    summary = {
        "schema": 1,
        "set": set_,
        "step": step,
        "complete": complete,
        "protocol": PROTOCOL | {"k": k} | dict(protocol or {}),
        "data": {
            "source": "x",
            "split": "test",
            "sha256": "a" * 64,
            "problems": len(names),
            "ids": names,
            **(data or {}),
        },
        "model": "tiny",
        "metrics": {},
        "seconds": 36.0,
        "generated_tokens": 1000,
        "devices": ["cpu"],
    }
    write_json(folder / "summary.json", summary | changed)
    return folder
