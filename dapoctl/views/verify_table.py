"""The columns of `runs verify`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dapoctl.runs.amounts import byte_size
from dapoctl.runs.verify import Finding
from dapoctl.views import columns
from dapoctl.views.columns import Column

COLUMNS: Sequence[Column[Finding]] = (
    Column(key="run", title="run", value=lambda row: row.run, text=lambda row: row.run, escape=True),
    Column(key="step", title="part", value=lambda row: row.step,
           text=lambda row: "record" if row.step is None else f"step_{row.step}"),
    Column(key="state", title="state", value=lambda row: row.state, text=lambda row: row.state),
    Column(key="bytes", title="size", value=lambda row: row.size,
           text=lambda row: "" if row.step is None else byte_size(row.size, small=True)),
    Column(key="problem", title="problem", value=lambda row: row.problem, text=lambda row: row.problem, escape=True),
)  # fmt: skip


def verify_lines(findings: Iterable[Finding]) -> list[str]:
    """One line for each finding under a header."""
    return [line.rstrip() for line in columns.lines(COLUMNS, findings)]


def verify_values(finding: Finding) -> dict[str, Any]:
    """A finding for `--json`."""
    return columns.record(COLUMNS, finding)
