"""An evaluation on a terminal: how far it is, and what came out."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dapoctl.views import tables
from dapoctl.views.metrics import written
from dapoctl.views.numbers import duration
from dapoctl.views.text import one_line

WORDS = {"load": "loading the model", "stop": "stopping; what is finished is stored, Ctrl-C again quits at once"}
INTERVALS = (("95%: OVER PROBLEMS", ""), ("95%: SAMPLING NOISE", "noise_"))
"""What an interval is about, and how the names of its ends begin"""


def page(run: str, folder: Path, summary: Mapping[str, Any], note: str) -> list[str]:
    """What came out, and what it was asked for."""
    protocol, data = summary.get("protocol", {}), summary.get("data", {})
    label = str(summary.get("set", ""))
    lines = [f"{one_line(label)}: {one_line(str(summary.get('model', '')))}, step {summary.get('step', 0)}", ""]
    lines += metric_lines(label, summary.get("metrics", {}))
    asked = ", ".join(
        f"{name} {protocol[key]}"
        for key, name in (
            ("k", "k"), ("temperature", "temperature"), ("top_p", "top_p"), ("max_tokens", "tokens"), ("seed", "seed"),
            ("scorer", "scorer"), ("engine", "engine"),
        )
        if key in protocol
    )  # fmt: skip
    cost = f"{int(summary.get('generated_tokens', 0)):,} tokens in {duration(float(summary.get('seconds', 0.0)))}"
    facts = {
        "protocol": f"{protocol.get('name', 'unknown')}: {asked}",
        "problems": f"{data.get('problems', '?')} of {data.get('source', '?')}, sha256 {str(data.get('sha256', '?'))[:12]}",
        "generated": f"{cost} on {', '.join(map(str, summary.get('devices', [])))}",
        "run": run,
        "stored in": str(folder),
        "note": note,
    }
    return [*lines, "", *(f"  {key:<10} {one_line(value)}" for key, value in facts.items() if value)]


def metric_lines(label: str, metrics: Mapping[str, Any]) -> list[str]:
    """A line for each metric under `eval/<set>/`, with its 95% intervals where it has some."""
    prefix = f"eval/{label}/"
    own = {name.removeprefix(prefix): float(value) for name, value in metrics.items() if name.startswith(prefix)}
    rows = [("", "", *(heading for heading, _ in INTERVALS))]
    for name, value in own.items():
        if "/" not in name:
            show = functools.partial(written, prefix + name)
            ends = [(own.get(f"{name}/{what}low"), own.get(f"{name}/{what}high")) for _, what in INTERVALS]
            cells = ["" if low is None or high is None else f"[{show(low)}, {show(high)}]" for low, high in ends]
            rows.append((name, f"{show(value):>8}", *cells))
    kept = [column for column in range(len(rows[0])) if column < 2 or any(row[column] for row in rows[1:])]
    return [f"  {line}".rstrip() for line in tables.aligned([[row[column] for column in kept] for row in rows])]


def sets_table() -> list[str]:
    """The sets by name: what they are, where they come from, their licence."""
    from dapoctl.tasks.problem_sets import SETS

    rows = [("SET", "HUB", "SPLIT", "PUBLIC SINCE", "LICENCE", "WHAT IT IS")]
    for known in SETS.values():
        splits = "/".join(dict.fromkeys(filter(None, (known.test_split, known.train_split)))) if known.hub else ""
        rows.append((known.name, known.hub or "(made on the spot)", splits, known.released, known.licence, known.title))
    return tables.aligned(rows)
