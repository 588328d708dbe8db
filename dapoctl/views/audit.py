"""An audit as tables: rules beside the reward's, what the reward's terms decide, drift, and held-out accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapoctl.evaluation.audit.audit import TRAINED, Audit, Finding, Word
from dapoctl.evaluation.audit.figures import Disagreement, SpanFigures
from dapoctl.evaluation.statistics.intervals import Interval
from dapoctl.views import columns, tables
from dapoctl.views.columns import Column
from dapoctl.views.numbers import interval_text, number, points, share, with_interval

if TYPE_CHECKING:
    from rich.console import RenderableType

STYLES = {Word.EXPLOITED: "bold red", Word.DISAGREES: "yellow", Word.AGREES: "green", Word.UNKNOWN: "dim"}
WELL_ORDERED = 0.9
"""Least share of pairs in which the right response has the higher reward, where the reward pays for right answers"""
RESPONSE = 300
"""Characters of an example that are shown"""


@dataclass(frozen=True)
class RuleLine:
    """A rule over the whole run, with its figures at both ends."""

    finding: Finding
    first: Disagreement
    last: Disagreement


def rule_lines(audit: Audit) -> list[RuleLine]:
    """One for each rule."""
    first, last = audit.spans[0], audit.spans[-1]
    return [RuleLine(each, first.rules[each.rule], last.rules[each.rule]) for each in audit.findings]


RULES: Sequence[Column[RuleLine]] = (
    Column(key="rule", title="rule", value=lambda row: row.finding.rule, text=lambda row: row.finding.rule,
           right=False, escape=True),
    Column(key="right", title="right, last", value=lambda row: row.last.right.value,
           text=lambda row: share(row.last.right.value)),
    Column(key="paid_alone_first", title="paid, wrong: first", value=lambda row: row.first.paid_alone.value,
           text=lambda row: share(row.first.paid_alone.value)),
    Column(key="paid_alone_last", title="last [95%]", value=lambda row: row.last.paid_alone.value,
           text=lambda row: with_interval(row.last.paid_alone.value, row.last.paid_alone.interval)),
    Column(key="paid_alone_low", value=lambda row: row.last.paid_alone.interval.low),
    Column(key="paid_alone_high", value=lambda row: row.last.paid_alone.interval.high),
    Column(key="growth", title="growth", value=lambda row: row.finding.growth,
           text=lambda row: points(row.finding.growth)),
    Column(key="growth_low", value=lambda row: row.finding.low),
    Column(key="growth_high", value=lambda row: row.finding.high),
    Column(key="rule_alone", title="rule alone", value=lambda row: row.last.rule_alone.value,
           text=lambda row: share(row.last.rule_alone.value), since=90),
    Column(key="verdict", title="verdict", value=lambda row: str(row.finding.word),
           text=lambda row: str(row.finding.word), style=lambda row: STYLES[row.finding.word], right=False),
)  # fmt: skip


def steps(span: SpanFigures) -> str:
    """`1-5`, or `7`."""
    return f"{span.first}-{span.last}" if span.last > span.first else str(span.first)


def _share(of: Callable[[SpanFigures], float]) -> Callable[[SpanFigures], str]:
    return lambda span: share(of(span))


STEPS: Column[SpanFigures] = Column(key="steps", title="steps", value=steps, text=steps, right=False)
DRIFT: Sequence[Column[SpanFigures]] = (
    STEPS,
    Column(key="responses", title="responses", value=lambda span: span.responses,
           text=lambda span: f"{span.responses:,}"),
    Column(key="length", title="length", value=lambda span: span.length, text=lambda span: number(span.length)),
    Column(key="truncated", title="truncated", value=lambda span: span.truncated,
           text=_share(lambda span: span.truncated)),
    Column(key="unanswered", title="unanswered", value=lambda span: span.unanswered,
           text=_share(lambda span: span.unanswered)),
    Column(key="repeated", title="repeated", value=lambda span: span.repeated, text=_share(lambda span: span.repeated)),
    Column(key="distinct", title="distinct in group", value=lambda span: span.distinct,
           text=_share(lambda span: span.distinct)),
)  # fmt: skip


def rule_columns(rule: str) -> list[Column[SpanFigures]]:
    """A rule by span of steps."""

    def at(span: SpanFigures) -> Disagreement:
        return span.rules[rule]

    return [
        STEPS,
        Column(key="right_by_training", title="right by training's rule", value=lambda span: span.right.value,
               text=_share(lambda span: span.right.value)),
        Column(key="right", title="by this one", value=lambda span: at(span).right.value,
               text=_share(lambda span: at(span).right.value)),
        Column(key="paid_alone", title="paid, wrong [95%]", value=lambda span: at(span).paid_alone.value,
               text=lambda span: with_interval(at(span).paid_alone.value, at(span).paid_alone.interval)),
        Column(key="rule_alone", title="rule alone", value=lambda span: at(span).rule_alone.value,
               text=_share(lambda span: at(span).rule_alone.value)),
        Column(key="ordered", title="right one paid more", value=lambda span: span.ordered[rule],
               text=_share(lambda span: span.ordered[rule])),
    ]  # fmt: skip


def part_columns(names: Sequence[str]) -> list[Column[SpanFigures]]:
    """What decides rewards, by span of steps."""

    def column(name: str) -> Column[SpanFigures]:
        def of(span: SpanFigures) -> float:
            return span.parts.get(name, math.nan)

        return Column(key=name, title=name, value=of, text=_share(of), escape=True)

    return [
        STEPS,
        *map(column, names),
        Column(key="flipped", title="order turned", value=lambda span: span.flipped,
               text=_share(lambda span: span.flipped)),
        Column(key="verdicts_ordered", title="right one paid more", value=lambda span: span.verdicts_ordered,
               text=_share(lambda span: span.verdicts_ordered), style=_alarm),
    ]  # fmt: skip


def _alarm(span: SpanFigures) -> str:
    return "bold red" if span.verdicts_ordered < WELL_ORDERED else ""


def turned(audit: Audit) -> str:
    """What to say of rewards that do not pay for right answers; empty where they do."""
    worst = min(audit.spans, key=lambda span: span.verdicts_ordered if math.isfinite(span.verdicts_ordered) else 2)
    if not worst.verdicts_ordered < WELL_ORDERED:
        return ""
    return (
        f"in steps {steps(worst)} the right one of two responses has the higher reward in {share(worst.verdicts_ordered)} of"
        " pairs: rewards are decided by something else than the verdict"
    )


def part_names(audit: Audit) -> list[str]:
    """The score and the terms that any span has."""
    return [*dict.fromkeys(name for span in audit.spans for name in span.parts)]


def page(audit: Audit, width: int) -> Iterator[RenderableType]:
    """The audit for a terminal."""
    judged = sum(span.responses for span in audit.spans)
    yield tables.text(
        f"{audit.run}: {judged:,} of {audit.stored:,} stored responses judged, trained by `{audit.trained_by}`"
        + (f", drawn with seed {audit.seed}" if judged < audit.stored else "")
    )
    if audit.missing:
        yield tables.text(f"the task's own rules are left out: {audit.missing}", "yellow")
    yield tables.heading("other rules: responses that training paid for as right")
    yield columns.terminal_table(RULES, rule_lines(audit), width)
    yield tables.note(_meaning(audit))
    for found in audit.findings:
        if found.word in (Word.EXPLOITED, Word.DISAGREES):
            yield tables.heading(f"{found.rule}: {sentence(found)}")
            yield columns.terminal_table(rule_columns(found.rule), audit.spans, width)
            for example in found.examples:
                yield tables.text(f"step {example['step']}, {example['problem']}, answer {example['answer']}:", "dim")
                yield tables.text(f"  {_short(str(example['response']))}")
    if names := part_names(audit):
        yield tables.heading("what decides rewards within a group: share of their variance")
        yield columns.terminal_table(part_columns(names), audit.spans, width)
        if words := turned(audit):
            yield tables.text(words, "bold red")
    yield tables.heading("drift")
    yield columns.terminal_table(DRIFT, audit.spans, width)
    if audit.accuracies:
        yield tables.heading("accuracy in training (5 steps) and on evaluated sets")
        yield from accuracy_table(audit)


def accuracy_table(audit: Audit) -> Iterator[RenderableType]:
    """Training accuracy beside every set, and what training has more."""
    sets = [*dict.fromkeys(name for row in audit.accuracies for name in row if name not in ("step", TRAINED))]
    table = tables.table(["step", TRAINED, *(title for name in sets for title in (name, "gap"))])
    for row in audit.accuracies:
        cells = [str(int(row["step"])), _known(row[TRAINED])]
        for name in sets:
            value = row.get(name, math.nan)
            cells += [_known(value), points(row[TRAINED] - value) if math.isfinite(row[TRAINED] - value) else ""]
        table.add_row(*map(tables.text, cells))
    yield table


def _known(value: float) -> str:
    return share(value) if math.isfinite(value) else ""


def _short(text: str) -> str:
    return text if len(text) <= RESPONSE else f"{text[: RESPONSE // 2]} ... {text[-RESPONSE // 2 :]}"


def sentence(found: Finding) -> str:
    """What a rule says of the reward."""
    interval = interval_text(Interval(found.low, found.high))
    if found.word is Word.EXPLOITED:
        return f"exploited; what is paid for and wrong by it grew by {points(found.growth)} points {interval}"
    if found.word is Word.DISAGREES:
        return f"disagrees; what is paid for and wrong by it changed by {points(found.growth)} points {interval}"
    return str(found.word)


def _meaning(audit: Audit) -> str:
    right = sum(span.responses * span.right.value for span in audit.spans[-1:])
    seen = (
        f"; of {right:,.0f} right ones, a share of {share(1 - 0.05 ** (1 / right))} that is wrong would show"
        if right
        else ""
    )
    return f"paid, wrong: right by training's rule, wrong by this one, of all responses{seen} (95%)"


def values(audit: Audit) -> dict[str, Any]:
    """Everything, for programs."""
    spans = []
    for span in audit.spans:
        rules = {name: columns.record(rule_columns(name)[2:], span) for name in span.rules}
        spans.append(
            columns.record(DRIFT, span) | {"right": span.right.value, "rules": rules, "parts": dict(span.parts),
                                           "order_turned": span.flipped, "right_paid_more": span.verdicts_ordered}
        )  # fmt: skip
    return {
        "run": audit.run,
        "trained_by": audit.trained_by,
        "missing": audit.missing,
        "stored": audit.stored,
        "seed": audit.seed,
        "rules": [columns.record(RULES, line) | {"examples": [*line.finding.examples]} for line in rule_lines(audit)],
        "spans": spans,
        "accuracies": [*audit.accuracies],
    }
