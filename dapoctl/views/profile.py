"""The table of where a step's time went."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dapoctl.runs.amounts import byte_size
from dapoctl.views.numbers import percent
from dapoctl.views.text import one_line, plain

OPERATORS = 10

"""Rows of the table; the run's `profile/summary.json` has more."""

SMALL = 0.001

"""Share of a step below which what is left of a phase is not worth a line"""


def profile_place(directory: Path) -> str:
    """The run's profile, or an empty string when there is none."""
    from dapoctl.training.profiling import FOLDER, SUMMARY

    found = directory / FOLDER / SUMMARY
    return str(found) if found.is_file() else ""


def profile_table(summary: Mapping[str, Any], directory: Path) -> list[str]:
    """The phases of a step, indented; the operators; where the trace is."""
    steps = [str(step) for step in summary["steps"]]
    spread = steps[0] if len(steps) == 1 else f"{steps[0]} to {steps[-1]}, mean"
    lines = ["", f"Where the time went: step {spread}, {summary['seconds']:.3f} s on {summary['device']}", ""]
    lines.append(_row("phase", "seconds", "share", "calls"))
    for item in summary["phases"]:
        *around, name = item["phase"].split("/")
        if name == "other" and item["share"] < SMALL:
            continue
        calls = "" if name == "other" else f"{item['calls']:.4g}"
        lines.append(_row(name, f"{item['seconds']:.3f}", percent(item["share"]), calls, len(around)))
    if summary.get("operators"):
        slower = f"{summary['traced_seconds']:.3f} s with tracing"
        if summary.get("traced_calls"):
            slower += f"; {summary['traced_calls']} calls of each phase, without sampling"
        lines += ["", f"Operators by their own time: step {summary['traced_step']}, {slower}", ""]
        lines.append(_row("operator", "seconds", "share", "calls"))
        for item in summary["operators"][:OPERATORS]:
            lines.append(_row(item["operator"], f"{item['seconds']:.3f}", percent(item["share"]), str(item["calls"])))
    lines += ["", f"  memory    {byte_size(summary['memory_peak_bytes'])} in use"]
    if "trace" in summary:
        lines.append(f"  trace     {plain(str(directory / summary['trace']))}   opens in https://ui.perfetto.dev")
    return lines


def _row(name: str, seconds: str, share: str, calls: str, depth: int = 0) -> str:
    name = "  " * depth + one_line(name)
    name = name if len(name) <= 40 else name[:39] + "…"
    return f"  {name:<40}  {seconds:>9}  {share:>6}  {calls:>8}".rstrip()
