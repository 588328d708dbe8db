"""Every metric that is shown to people, once: what it is called, its unit, its chart, and where else it is shown.

To add a metric with a chart, log it where it is measured and add it to `METRICS`. One that is not there, since a component of
somebody else logs it, has a chart, too: its title and unit come from its name.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from dapoctl.runs.amounts import byte_size
from dapoctl.views.numbers import number, percent

REWARD, ENTROPY, HELD_OUT = "reward/mean", "policy/entropy", "eval/**/avg@*"
BOUNDS = ("/low", "/high")
"""Ends of the interval of a held-out figure"""


class Unit(StrEnum):
    """What a metric is measured in, which decides how its values are written."""

    SHARE = "share"
    """A part of a whole, written in percent"""
    BYTES = "bytes"
    TOKENS = "tokens"
    TOKENS_PER_SECOND = "tokens/s"
    SECONDS = "seconds"
    NATS = "nats"
    NUMBER = ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric, or all metrics whose names fit a pattern."""

    name: str
    """In a pattern `*` stands for anything without a slash, `**` for anything"""
    title: str = ""
    """Of its chart, or what it is called in the chart that it shares; by default made from its name"""
    unit: Unit | None = None
    """By default told by its name"""
    chart: str = ""
    """Title of the chart that it shares with others"""
    course: bool = False
    """Whether the progress block leads a row with it and its course"""
    signed: bool = False
    """Whether it is written with a sign, and with its first value beside the last"""
    row: str = ""
    """Row of the progress block that has its last value"""
    block: str = ""
    """What it is called there"""
    step_line: str = ""
    """What it is called in the line that a log has for each step"""
    inspector: str = ""
    """What it is called beside the table of runs"""
    compare: str = ""
    """What it is called where the training of several runs is compared"""
    late: int = 0
    """In a row of the progress block and in the step line, those with a higher number come later; charts do not mind"""

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Of the names that it stands for."""
        parts = re.split(r"(\*+)", self.name)
        wild = {"*": "[^/]*", "**": ".*"}
        return re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL)


METRICS = (
    Metric(name=REWARD, title="reward", signed=True, course=True, row="reward",
           step_line="reward", inspector="reward", compare="reward"),
    Metric(name="score/accuracy", title="accuracy", unit=Unit.SHARE, row="reward", block="correct",
           step_line="accuracy", inspector="accuracy", compare="accuracy"),
    Metric(name=HELD_OUT, unit=Unit.SHARE, course=True, row="held-out"),
    Metric(name=ENTROPY, title="entropy", unit=Unit.NATS, course=True, row="entropy",
           step_line="entropy", inspector="entropy"),
    Metric(name="response/length_mean", title="response length", unit=Unit.TOKENS, row="groups", block="tokens long", late=1,
           step_line="length", inspector="length", compare="length"),
    Metric(name="policy/clip_fraction_low", title="low", unit=Unit.SHARE, chart="clipped",
           row="entropy", block="clipped low"),
    Metric(name="policy/clip_fraction_high", title="high", unit=Unit.SHARE, chart="clipped",
           row="entropy", block="clipped high"),
    Metric(name="policy/**"),
    Metric(name="groups/kept_fraction", title="groups kept", unit=Unit.SHARE, row="groups", block="kept",
           step_line="kept", inspector="kept"),
    Metric(name="policy/grad_norm", title="gradient norm", row="entropy", block="gradient norm", late=1,
           step_line="grad_norm", inspector="grad norm"),
    Metric(name="groups/all_right", title="right", unit=Unit.SHARE, chart="zero-variance groups",
           row="groups", block="all right", late=3),
    Metric(name="groups/all_wrong", title="wrong", unit=Unit.SHARE, chart="zero-variance groups",
           row="groups", block="all wrong", late=3),
    Metric(name="response/truncated_fraction", title="responses truncated", unit=Unit.SHARE,
           row="groups", block="truncated", late=2),
    Metric(name="response/masked_fraction", title="responses masked", unit=Unit.SHARE),
    Metric(name="score/unanswered", title="no answer found", unit=Unit.SHARE),
    Metric(name="score/unmarked", title="answer not marked", unit=Unit.SHARE),
    Metric(name="policy/approx_kl", title="approximate KL of a step", unit=Unit.NATS,
           row="entropy", block="approximate KL", late=1),
    Metric(name="rollout/logprob_mismatch_mean", title="logprob mismatch", unit=Unit.NATS),
    Metric(name="rollout/importance_ess", title="importance ESS"),
    Metric(name="rollout/engine_follows", title="engine follows"),
    Metric(name="rollout/engine_follows_error", title="engine follows, error"),
    Metric(name="time/update", title="update", unit=Unit.SECONDS, chart="seconds"),
    Metric(name="time/generate", title="generate", unit=Unit.SECONDS, chart="seconds"),
    Metric(name="time/score", title="score", unit=Unit.SECONDS, chart="seconds"),
    Metric(name="time/sync", title="sync", unit=Unit.SECONDS, chart="seconds"),
    Metric(name="throughput/generated_tokens_per_s", title="tokens/s sampled", row="speed", block="tokens/s sampled", late=1,
           step_line="tokens_per_s"),
    Metric(name="throughput/trained_tokens_per_s", title="tokens/s trained", row="speed", block="tokens/s trained", late=1),
    Metric(name="memory/peak_bytes", title="peak memory", unit=Unit.BYTES, row="speed", block="memory", late=1),
    Metric(name="**"),
    Metric(name="score/error", unit=Unit.SHARE),
    Metric(name="score/timeout", unit=Unit.SHARE),
    Metric(name="policy/skipped_updates", title="updates skipped", unit=Unit.SHARE),
    Metric(name="policy/loss", title="loss"),
    Metric(name="policy/ratio_max", title="largest ratio"),
    Metric(name="policy/ratio_mean", title="mean ratio"),
    Metric(name="rollout/logprob_mismatch_max", title="largest mismatch", unit=Unit.NATS),
    Metric(name="policy/learning_rate", title="learning rate"),
    Metric(name="eval/**"),
)  # fmt: skip
"""In the order of the charts: those that say most come first.

A name stands for itself before any pattern; of two patterns the longer one fits, and says where the chart of a metric without a
title stands. What a component logs under `policy/` is known by not being one of the trainer's own.
"""

_BY_NAME = {metric.name: metric for metric in METRICS}
_PATTERNS = sorted((metric for metric in METRICS if "*" in metric.name), key=lambda metric: -len(metric.name))
_ORDER = {metric.name: index for index, metric in enumerate(METRICS)}


def shown_in(place: str) -> list[Metric]:
    """The metrics that `place`, a field of `Metric`, has a word for, in its order."""
    found = [entry for entry in METRICS if getattr(entry, place)]
    return sorted(found, key=lambda entry: entry.late) if place in ("row", "step_line") else found


@functools.lru_cache(maxsize=4096)
def metric(name: str) -> Metric:
    """What is known of the metric called `name`."""
    return _BY_NAME.get(name) or _fitting(name)


def _fitting(name: str) -> Metric:
    return next(entry for entry in _PATTERNS if entry.pattern.fullmatch(name))


def is_held_out(name: str) -> bool:
    """Whether a metric is an accuracy on problems that training never sees."""
    return metric(name).name == HELD_OUT


def title(name: str) -> str:
    """What a metric is called: `gradient norm`; `arithmetic avg@1` for `eval/arithmetic/avg@1`."""
    if known := metric(name).title:
        return known
    if name.startswith("eval/"):
        return " ".join(name.removeprefix("eval/").rsplit("/", 1))
    return name.removeprefix("policy/")


@functools.lru_cache(maxsize=4096)
def unit(name: str) -> Unit:
    """What a metric is measured in."""
    known = metric(name).unit
    if known is not None:
        return known
    family, _, rest = name.partition("/")
    tail = rest.rpartition("/")[2] or name
    if "fraction" in tail or (family == "eval" and "@" in rest):
        return Unit.SHARE
    for ending, told in (("_bytes", Unit.BYTES), ("tokens_per_s", Unit.TOKENS_PER_SECOND), ("_seconds", Unit.SECONDS)):
        if tail.endswith(ending):
            return told
    return Unit.SECONDS if family == "time" else Unit.NUMBER


def written(name: str, value: float) -> str:
    """A metric's value as people write it: `61.7%`, `1.3 GiB`, `0.312`, `nan`."""
    if not math.isfinite(value):
        return f"{value}"
    if unit(name) is Unit.SHARE:
        return percent(value)
    return byte_size(value) if unit(name) is Unit.BYTES else number(value)


@dataclass(frozen=True)
class Panel:
    """A chart: metrics that are drawn together."""

    title: str
    metrics: tuple[str, ...]
    legend: tuple[str, ...] = ()
    """What each metric is called beside the others; empty for one alone"""
    faint: tuple[str, ...] = ()
    """Metrics that are drawn behind the others"""

    @property
    def main(self) -> str:
        """The metric whose value the title shows."""
        return self.metrics[0]


def panels(names: Iterable[str]) -> list[Panel]:
    """The charts of a run that has the metrics `names`, each of which is in one of them."""
    there = {*names}
    groups: dict[tuple[str, str], list[str]] = {}
    for name in sorted((name for name in there if not name.endswith(BOUNDS)), key=_place):
        shared = metric(name).chart
        groups.setdefault((shared, "" if shared else name), []).append(name)
    return [_panel(shared, members, there) for (shared, _), members in groups.items()]


def _place(name: str) -> tuple[int, str]:
    known = metric(name)
    return _ORDER[known.name if known.title else _fitting(name).name], name


def _panel(shared: str, members: list[str], there: set[str]) -> Panel:
    first = members[0]
    if shared:
        return Panel(shared, tuple(members), tuple(map(title, members)))
    if is_held_out(first):
        ends = tuple(f"{first}{end}" for end in BOUNDS if f"{first}{end}" in there)
        return Panel(f"held-out {title(first)}", (first, *ends), faint=ends)
    return Panel(title(first), (first,))
