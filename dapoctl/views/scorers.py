"""What scorers take and refuse, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dapoctl.evaluation.scorer_check.check import Checked
from dapoctl.views import columns, tables
from dapoctl.views.columns import Column
from dapoctl.views.numbers import share

if TYPE_CHECKING:
    from rich.console import RenderableType

CHECKED: Sequence[Column[Checked]] = (
    Column(key="scorer", title="scorer", value=lambda row: row.scorer, text=lambda row: row.scorer, right=False, escape=True),
    Column(key="right_taken", title="right", value=lambda row: row.taken, text=lambda row: str(row.taken)),
    Column(key="right_refused", title="refused", value=lambda row: sum(row.refused.values()),
           text=lambda row: str(sum(row.refused.values()))),
    Column(key="recall", title="recall", value=lambda row: row.recall, text=lambda row: share(row.recall)),
    Column(key="wrong_taken", title="wrong", value=lambda row: sum(row.wrong_taken.values()),
           text=lambda row: f"{sum(row.wrong_taken.values())} of {row.wrong}"),
    Column(key="false_positives", value=lambda row: row.false_positives),
    Column(key="exploits", title="exploits", value=lambda row: sum(row.exploits.values()),
           text=lambda row: f"{sum(row.exploits.values())} of {sum(row.tried.values())}",
           style=lambda row: "red" if row.exploits else "green"),
    Column(key="failures", title="failed", value=lambda row: row.failures, text=lambda row: str(row.failures)),
)  # fmt: skip


def page(results: Sequence[Checked], cases: int, width: int) -> Iterator[RenderableType]:
    """All scorers in a table, then what each refuses and takes."""
    yield tables.text(f"{cases:,} responses, made and labelled by rule")
    yield columns.terminal_table(CHECKED, results, width)
    yield tables.note(
        "right: right answers taken, and refused; wrong, exploits: taken, of all; failed: out of time, or raised"
    )
    for found in results:
        yield tables.heading(found.scorer)
        yield tables.text(f"exploits that pass: {_listed(found.exploits, found.tried)}")
        yield tables.text(f"wrong answers taken: {_listed(found.wrong_taken)}")
        yield tables.text(f"right answers refused: {_listed(found.refused)}")


def _listed(counts: Mapping[str, int], of: Mapping[str, int] | None = None) -> str:
    shown = [f"{kind} ({number}{f' of {of[kind]}' if of else ''})" for kind, number in sorted(counts.items())]
    return ", ".join(shown) or "none"


def values(found: Checked) -> dict[str, Any]:
    """For programs."""
    return columns.record(CHECKED, found) | {
        "exploits_by_kind": dict(found.exploits),
        "wrong_by_kind": dict(found.wrong_taken),
        "refused_by_kind": dict(found.refused),
    }
