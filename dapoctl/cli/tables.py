"""`runs list` and `runs show` as lines of text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dapoctl.cli.figures import number, percent
from dapoctl.cli.output import one_line, width
from dapoctl.cli.profile import profile_place
from dapoctl.cli.progress import REWARD, is_held_out
from dapoctl.runs.plugin_changes import agreed

if TYPE_CHECKING:
    from dapoctl.runs.difference import Difference
    from dapoctl.runs.summary import RunSummary


def runs_table(summaries: Sequence[RunSummary]) -> list[str]:
    """One line per run under a header; columns are aligned, the components last."""
    rows = [("RUN", "STATE", "STEP", "REWARD", "HELD-OUT", "COMPONENTS")]
    rows += [_row(summary) for summary in summaries]
    sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(size) for cell, size in zip(row, sizes, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    limit = width()
    return [line if len(line) <= limit else line[: limit - 1] + "…" for line in lines]


def _row(summary: RunSummary) -> tuple[str, str, str, str, str, str]:
    if summary.problem:
        return one_line(summary.id), "unreadable", "", "", "", one_line(summary.problem)
    return (
        one_line(summary.id),
        summary.state,
        f"{summary.step}/{summary.steps}",
        _figure(summary.metrics.get(REWARD)),
        next((_figure(value, share=True) for name, value in summary.metrics.items() if is_held_out(name)), ""),
        one_line(",".join(summary.components) + (f"  ({summary.why})" if summary.why else "")),
    )


def _figure(value: float | str | None, share: bool = False) -> str:
    """A metric as stored: one that is not finite is a word."""
    if value is None:
        return ""
    return percent(float(value)) if share else number(float(value))


def run_page(summary: RunSummary) -> list[str]:
    """Everything about a run that fits a screen."""
    if summary.problem:
        return [one_line(summary.id)]
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.created))
    model = summary.spec.get("config", {}).get("model", {}).get("path", "")
    facts = {
        "state": f"{summary.state}, step {summary.step} of {summary.steps}",
        "why": summary.why,
        "created": created,
        "model": str(model),
        "components": ", ".join(summary.components),
        "changed": ", ".join(_changed(change) for change in agreed(summary.directory)),
        "sweep": summary.group,
        "tags": ", ".join(summary.tags),
        "note": summary.note,
        "directory": str(summary.directory),
        "profile": profile_place(summary.directory),
    }
    lines = [one_line(summary.id), *(f"  {key:<12}{one_line(value)}" for key, value in facts.items() if value)]
    if summary.metrics:
        size = max(len(name) for name in summary.metrics)
        lines += ["", "last metrics"]
        lines += [f"  {one_line(name):<{size}}  {_figure(value):>9}" for name, value in sorted(summary.metrics.items())]
    if summary.state in ("stopped", "failed", "lost") and summary.step < summary.steps:
        lines += ["", f"resume with: dapoctl runs resume {one_line(summary.id)}"]
    return lines


def _changed(change: Mapping[str, Any]) -> str:
    return f"{change.get('component')} ({change.get('file')}) after step {change.get('step')}"


def diff_lines(first: str, second: str, found: Difference) -> list[str]:
    """How two runs differ, as text."""
    lines = [f"- {one_line(first)}", f"+ {one_line(second)}"]
    if found.nothing:
        return [*lines, "no difference"]
    if found.only_first or found.only_second:
        lines += ["", "components"]
        lines += [f"  - {one_line(name)}" for name in found.only_first]
        lines += [f"  + {one_line(name)}" for name in found.only_second]
    for title, rows in (("configuration", found.keys), ("made with", found.versions)):
        if rows:
            size = max(len(key) for key in rows)
            lines += ["", title]
            lines += [f"  {one_line(key):<{size}}  {one_line(f'{a} -> {b}')}" for key, (a, b) in rows.items()]
    return lines
