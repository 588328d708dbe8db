"""A study as tables: its arms and how far they are, its outcomes, and what was found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapoctl.doctor.gpus import KnownGpu
from dapoctl.doctor.hours import Assumptions
from dapoctl.evaluation.statistics.verdict import Word
from dapoctl.runs.amounts import byte_size
from dapoctl.study.analysis import ARM, INTERACTION, LADDER, LEAVE_OUT, MAIN, Effect, Outcomes, Power
from dapoctl.study.estimate import Estimated
from dapoctl.study.schema import Outcome
from dapoctl.views import columns, metrics, tables
from dapoctl.views.columns import Column
from dapoctl.views.metrics import Unit
from dapoctl.views.numbers import count, hours, number, p_value, points, share

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.evaluation.statistics.intervals import Interval
    from dapoctl.study.plan import Plan
    from dapoctl.study.progress import Made

KINDS = {
    MAIN: "main effects: the factor on, minus off, over all settings of the others",
    INTERACTION: "interactions: a difference of differences",
    LADDER: "ladder: one part after the other",
    LEAVE_OUT: "leave one out",
    ARM: "arms",
}
STYLES = {Word.BETTER: "green", Word.WORSE: "red", Word.EQUIVALENT: "cyan"}


# What a plan would take on a GPU.


def _room(row: Estimated) -> str:
    if row.report.memory is None:
        return "not known"
    return "fits tightly" if row.tight else "fits"


ESTIMATES: Sequence[Column[Estimated]] = (
    Column(key="arm", title="arm", value=lambda row: row.arm, text=lambda row: row.arm, right=False, escape=True),
    Column(key="runs", title="runs", value=lambda row: row.runs, text=lambda row: str(row.runs)),
    Column(key="peak_bytes", title="memory", value=lambda row: row.report.memory and row.report.memory.peak,
           text=lambda row: byte_size(row.report.memory.peak) if row.report.memory else "?"),
    Column(key="hours_a_run", title="hours a run", value=lambda row: row.hours / row.runs,
           text=lambda row: hours(row.hours / row.runs)),
    Column(key="hours", title="hours", value=lambda row: row.hours, text=lambda row: hours(row.hours)),
    Column(key="tight", value=lambda row: row.tight),
    Column(key="problem", title="", value=lambda row: row.problem, text=lambda row: row.problem or _room(row),
           style=lambda row: "red" if row.problem else "green" if _room(row) == "fits" else "yellow", right=False, escape=True,
           fold=True),
)  # fmt: skip


def estimate_parts(gpu: KnownGpu, rows: Sequence[Estimated], width: int) -> Iterator[RenderableType]:
    """Memory and time of every arm, with what is assumed."""
    yield tables.heading(f"on {gpu.title}, by arithmetic and not measured")
    yield columns.terminal_table(ESTIMATES, rows, width)
    total = math.fsum(row.hours for row in rows)
    yield tables.text(f"{hours(total)} hours in all, on one GPU")
    for words in Assumptions().words():
        yield tables.note(f"assumed: {words}")
    for words in dict.fromkeys(check.text for row in rows for check in row.report.run if check.name == "model"):
        yield tables.note(f"model: {words}")


# Figures in an outcome's unit.


def _is_share(outcome: Outcome) -> bool:
    return outcome.how != "reach" and metrics.unit(outcome.metric) is Unit.SHARE


def figure(outcome: Outcome, value: float) -> str:
    """A value of the outcome: `61.7%`, `12.3k`, `0.31`."""
    if _is_share(outcome):
        return share(value)
    if outcome.how != "reach":
        return number(value)
    return {"steps": number, "tokens": count, "hours": hours}[outcome.count](value)


def change(outcome: Outcome, value: float) -> str:
    """A difference of two values: shares in points."""
    if _is_share(outcome):
        return points(value)
    if not math.isfinite(value):
        return "?"
    shown = figure(outcome, abs(value))
    return shown if shown in ("0", "0.000") else f"{'-' if value < 0 else '+'}{shown}"


def changes(outcome: Outcome, interval: Interval) -> str:
    """The interval of a difference."""
    return (
        f"[{change(outcome, interval.low)}, {change(outcome, interval.high)}]" if math.isfinite(interval.low) else "?"
    )


def way(outcome: Outcome) -> str:
    """How the outcome is taken from a run, in words."""
    over = f", mean of {outcome.over}" if outcome.over > 1 else ""
    if outcome.how == "at":
        return f"{'at the last step' if outcome.at == 'last' else f'at step {outcome.at}'}{over}"
    if outcome.area is not None:
        return f"mean over steps {outcome.area[0]} to {outcome.area[1]}"
    if outcome.how == "reach":
        return f"{outcome.count} until it reaches {figure(_value_of(outcome), outcome.reach or 0.0)}{over}"
    if outcome.how == "when":
        return f"where {outcome.when} reaches {number(outcome.level or 0.0)}"
    budget = f"{count(outcome.at_tokens)} tokens" if outcome.at_tokens else f"{hours(outcome.at_hours or 0.0)} hours"
    return f"after {budget}"


def _value_of(outcome: Outcome) -> Outcome:
    """The outcome as a value of its metric."""
    return outcome.model_copy(update={"reach": None, "at": "last"})


# Tables.


@dataclass(frozen=True)
class ArmLine:
    """An arm, and how far its runs are."""

    name: str
    what: str
    seeds: Sequence[int]
    states: dict[str, int]
    hours: float = math.nan


def arm_lines(plan: Plan, made: Sequence[Made] = (), taken: dict[str, float] | None = None) -> list[ArmLine]:
    """A line for each arm; `taken`: hours that a run takes, by arm."""
    lines = []
    for name, arm in plan.arms.items():
        states = Counter(each.state for each in made if each.planned.arm == name)
        what = arm.what or _changes(plan, name)
        if arm.placebo:
            what = f"placebo: {what}"
        lines.append(ArmLine(name, what, plan.seeds(name), dict(states), (taken or {}).get(name, math.nan)))
    return lines


def _changes(plan: Plan, name: str) -> str:
    arm = plan.arms[name]
    if arm.factors is not None:
        return "+".join(factor for factor in plan.study.design.factorial if factor in arm.factors) or "no factor on"
    changes = plan.study.arm[name].changes
    words = [f"+{word}" if not word.startswith("-") else word for word in changes.get("plugins", [])]
    words += [f"{key}={value}" for key, value in _dotted(changes) if key != "plugins"]
    origin = plan.study.arm[name].origin
    return " ".join([*([f"{origin}:"] if origin else []), *words])


def _dotted(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


ARMS: list[Column[ArmLine]] = [
    Column(key="arm", title="arm", value=lambda row: row.name, text=lambda row: row.name, right=False, escape=True),
    Column(key="seeds", title="seeds", value=lambda row: list(row.seeds), text=lambda row: str(len(row.seeds))),
    Column(key="finished", title="done", value=lambda row: row.states.get("finished", 0),
           text=lambda row: str(row.states.get("finished", 0))),
    Column(key="states", title="others", value=lambda row: row.states, right=False,
           text=lambda row: ", ".join(f"{number} {state}" for state, number in sorted(row.states.items())
                                      if state not in ("finished", "missing"))),
    Column(key="hours", title="hours a run", value=lambda row: row.hours, text=lambda row: hours(row.hours)),
    Column(key="what", title="what", value=lambda row: row.what, text=lambda row: row.what, right=False, escape=True,
           fold=True),
]  # fmt: skip


@dataclass(frozen=True)
class EffectLine:
    """An effect of an outcome."""

    of: Outcomes
    effect: Effect

    def detects(self) -> str:
        """The minimum detectable effect, in the outcome's unit."""
        return change(self.of.outcome, self.effect.detects).lstrip("+")

    def verdict(self) -> str:
        """In words; empty for what is not tested."""
        return "" if self.effect.verdict is None else verdict_words(self.of.outcome, self.effect)


def verdict_words(outcome: Outcome, effect: Effect) -> str:
    """`better`, `equivalent within ±3.0 points`, `not seen`."""
    if effect.verdict is None:
        return ""
    if not effect.verdict.margin:
        return str(effect.verdict.word)
    within = f"within ±{change(outcome, effect.verdict.margin).lstrip('+')}"
    joined = " " if effect.verdict.word is Word.EQUIVALENT else ", but "
    return f"{effect.verdict.word}{joined}{within}"


EFFECTS: list[Column[EffectLine]] = [
    Column(key="outcome", value=lambda row: row.of.name),
    Column(key="kind", value=lambda row: row.effect.kind),
    Column(key="name", title="", value=lambda row: row.effect.name, text=lambda row: row.effect.name, right=False, escape=True),
    Column(key="against", title="against", value=lambda row: row.effect.against, text=lambda row: row.effect.against,
           right=False, escape=True, since=100),
    Column(key="effect", title="effect", value=lambda row: row.effect.estimate.value,
           text=lambda row: change(row.of.outcome, row.effect.estimate.value)),
    Column(key="low", value=lambda row: row.effect.estimate.interval().low),
    Column(key="high", value=lambda row: row.effect.estimate.interval().high),
    Column(key="interval", title="[95%]", right=False,
           text=lambda row: changes(row.of.outcome, row.effect.estimate.interval())),
    Column(key="p", title="p", value=lambda row: row.effect.p, text=lambda row: p_value(row.effect.p)),
    Column(key="detects", title="detects", value=lambda row: row.effect.detects, text=EffectLine.detects),
    Column(key="verdict", title="verdict", value=lambda row: str(row.effect.verdict or ""), text=EffectLine.verdict,
           right=False, fold=True, style=lambda row: STYLES.get(row.effect.verdict.word, "") if row.effect.verdict else ""),
]  # fmt: skip


@dataclass(frozen=True)
class ValueLine:
    """An arm's values of an outcome."""

    of: Outcomes
    arm: str

    def text(self) -> str:
        """The mean with its interval."""
        mean = self.of.fitted.mean(self.arm)
        interval = mean.interval()
        outcome = self.of.outcome
        if not math.isfinite(interval.low):
            return figure(outcome, mean.value)
        return f"{figure(outcome, mean.value)} [{figure(outcome, interval.low)}, {figure(outcome, interval.high)}]"


VALUES: list[Column[ValueLine]] = [
    Column(key="outcome", value=lambda row: row.of.name),
    Column(key="arm", title="arm", value=lambda row: row.arm, text=lambda row: row.arm, right=False, escape=True),
    Column(key="runs", title="runs", value=lambda row: row.of.fitted.count(row.arm),
           text=lambda row: str(row.of.fitted.count(row.arm))),
    Column(key="mean", title="mean [95%]", value=lambda row: row.of.fitted.mean(row.arm).value, text=ValueLine.text,
           right=False),
    Column(key="censored", title="not reached", value=lambda row: row.of.censored(row.arm),
           text=lambda row: str(row.of.censored(row.arm) or "")),
]  # fmt: skip


@dataclass(frozen=True)
class PowerLine:
    """What a planned difference detects."""

    outcome: Outcome
    power: Power


POWERS: list[Column[PowerLine]] = [
    Column(key="kind", title="kind", value=lambda row: row.power.kind, text=lambda row: row.power.kind, right=False),
    Column(key="name", title="", value=lambda row: row.power.name, text=lambda row: row.power.name, right=False, escape=True),
    Column(key="detects", title="detects", value=lambda row: row.power.detects,
           text=lambda row: change(row.outcome, row.power.detects).lstrip("+")),
    Column(key="corrected", title="corrected", value=lambda row: row.power.corrected,
           text=lambda row: change(row.outcome, row.power.corrected).lstrip("+")),
]  # fmt: skip


def result_parts(found: Outcomes, width: int) -> Iterator[RenderableType]:
    """An outcome's effects, kind by kind, and the means of its arms."""
    outcome = found.outcome
    yield tables.heading(f"{found.title} ({outcome.role}): {outcome.metric}, {way(outcome)}")
    interval = found.fitted.deviation_interval()
    if math.isfinite(found.fitted.deviation):
        low, high = (change(outcome, end).lstrip("+") for end in (interval.low, interval.high))
        deviation = change(outcome, found.fitted.deviation).lstrip("+")
        yield tables.note(
            f"seeds of an arm differ by {deviation} [{low}, {high}] (standard deviation, pooled, {found.fitted.freedom} degrees"
            f" of freedom); p of main effects and arms by Holm for {found.family} tests"
        )
    for kind, words in KINDS.items():
        if rows := [EffectLine(found, effect) for effect in found.of(kind)]:
            yield tables.text(words, "bold dim")
            yield columns.terminal_table(EFFECTS, rows, width)
    yield tables.text("means", "bold dim")
    arms = list(dict.fromkeys(run.arm for run in found.values))
    yield columns.terminal_table(VALUES, [ValueLine(found, arm) for arm in arms], width)
    if why := Counter(value.why for value in found.values.values() if value.why):
        yield tables.note("; ".join(f"{number} runs left out: {words}" for words, number in why.items()))


def values_of(found: Iterable[Outcomes]) -> dict[str, Any]:
    """The results for programs."""
    made = {}
    for each in found:
        arms = list(dict.fromkeys(run.arm for run in each.values))
        made[each.name] = {
            "role": each.outcome.role,
            "deviation": each.fitted.deviation,
            "freedom": each.fitted.freedom,
            "effects": [columns.record(EFFECTS, EffectLine(each, effect)) for effect in each.effects],
            "means": [columns.record(VALUES, ValueLine(each, arm)) for arm in arms],
            "runs": [
                {"arm": run.arm, "seed": run.seed, "value": value.value, "censored": value.censored, "why": value.why}
                for run, value in each.values.items()
            ],
        }
    return made
