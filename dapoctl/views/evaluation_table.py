"""The columns of a table of evaluations: those of a run, and what the responses of a comparison are like."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dapoctl.views.columns import Column, Place
from dapoctl.views.numbers import UNKNOWN, number, percent, with_interval

if TYPE_CHECKING:
    from dapoctl.evaluation.statistics.intervals import Interval

TERMINAL, GRID = Place.TERMINAL, Place.GRID


@dataclass(frozen=True)
class EvaluationRow:
    """An evaluation."""

    values: Mapping[str, float]
    """By metric; `avg`, `pass` and `maj` without their k"""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    label: str = ""
    """Of a side of a comparison"""
    step: int = 0
    avg: str = ""
    """Name of its accuracy, such as `avg@32`; empty if it has none"""
    unknown: str = UNKNOWN
    """Stands for what was not measured"""


def columns_of(at_pass: str = "pass@k", at_maj: str = "maj@k", wide: bool = False) -> list[Column[EvaluationRow]]:
    """The columns.

    Args:
        at_pass: title of pass@k where k is known
        at_maj: title of maj@k where k is known
        wide: whether there is room for their intervals on the terminal
    """
    return [
        Column(key="label", text=lambda row: row.label, style=lambda _row: "bold", right=False, places=TERMINAL),
        Column(key="step", title="step", text=lambda row: str(row.step), sizes={0: 6}, places=GRID),
        Column(key="avg", title="avg@k", text=_avg, sizes={0: 13}, places=GRID),
        Column(key="interval", title="95% interval", text=_interval, sizes={50: 13}, places=GRID),
        Column(key="pass", title="pass@k", titles={TERMINAL: at_pass}, text=_share("pass", wide), sizes={60: 7},
               places=TERMINAL | GRID),
        Column(key="maj", title="maj@k", titles={TERMINAL: at_maj}, text=_share("maj", wide), sizes={68: 7},
               places=TERMINAL | GRID),
        Column(key="length_mean", title="tokens", text=lambda row: _length(row, "{:.0f}".format), places=TERMINAL),
        Column(key="length_mean", title="tokens", text=lambda row: _length(row, number), sizes={76: 7}, places=GRID),
        Column(key="truncated_fraction", title="truncated", text=_share("truncated_fraction"), sizes={84: 9},
               places=TERMINAL | GRID),
        Column(key="unanswered_fraction", title="no answer", text=_share("unanswered_fraction"), sizes={94: 9},
               places=TERMINAL | GRID),
        Column(key="format_failure_fraction", title="format", text=_share("format_failure_fraction"), places=TERMINAL),
        Column(key="unmarked_fraction", title="unmarked", text=_share("unmarked_fraction"), places=TERMINAL),
        Column(key="error_fraction", title="error", text=_share("error_fraction"), places=TERMINAL),
        Column(key="timeout_fraction", title="timeout", text=_share("timeout_fraction"), places=TERMINAL),
    ]  # fmt: skip


def _avg(row: EvaluationRow) -> str:
    return f"{row.avg} {_share('avg')(row)}" if row.avg else ""


def _interval(row: EvaluationRow) -> str:
    interval = row.intervals.get("avg")
    if interval is None or not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    return f"{percent(interval.low)}-{percent(interval.high)}"


def _share(key: str, wide: bool = False) -> Callable[[EvaluationRow], str]:
    def text(row: EvaluationRow) -> str:
        value = row.values.get(key, math.nan)
        if not math.isfinite(value):
            return row.unknown
        return with_interval(value, row.intervals[key]) if wide and key in row.intervals else percent(value)

    return text


def _length(row: EvaluationRow, show: Callable[[float], str]) -> str:
    value = row.values.get("length_mean", math.nan)
    return show(value) if math.isfinite(value) else row.unknown
