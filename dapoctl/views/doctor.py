"""`dapoctl doctor` as lines of text."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from dapoctl.doctor.hours import Assumptions
from dapoctl.runs.amounts import byte_size
from dapoctl.views.numbers import hours
from dapoctl.views.terminal import colours, width
from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from dapoctl.doctor.advice import Advice
    from dapoctl.doctor.checks import Check
    from dapoctl.doctor.hours import Hours
    from dapoctl.doctor.memory import Estimate
    from dapoctl.doctor.plan import Plan
    from dapoctl.doctor.report import Report
    from dapoctl.doctor.source import Model

READABLE = 120
"""Columns beyond which lines of text are hard to follow"""
NAME = 13
COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED, "note": None}


def page(report: Report) -> list[str]:
    """The machine, the run, its memory, and what to do."""
    lines = [_heading("installation"), *_checks(report.environment)]
    lines += ["", _heading(f"model {one_line(report.model.path)}"), *_model(report.model)]
    lines += ["", _heading("work"), *_plan(report.plan)]
    if report.memory is not None:
        lines += ["", *_memory(report.memory)]
    if report.hours is not None:
        lines += ["", _heading("time, about, by arithmetic and not measured"), *_hours(report.hours)]
    lines += ["", _heading("run"), *_checks(report.run)]
    if report.advice:
        lines += ["", _heading("advice"), *(line for item in report.advice for line in _advice(item))]
    return lines


def _heading(text: str) -> str:
    return typer.style(text, bold=True) if colours(sys.stdout) else text


def _columns() -> int:
    return min(width(), READABLE)


def _checks(checks: Sequence[Check]) -> list[str]:
    return [line for check in checks for line in _check(check)]


def _check(check: Check) -> list[str]:
    word = "" if check.status == "note" else check.status
    prefix = f"  {word:<6}{one_line(check.name):<{NAME}} "
    lines = _wrapped(prefix, one_line(check.text))
    if word and colours(sys.stdout):
        styled = typer.style(word, fg=COLOURS[check.status], bold=check.status == "fail")
        lines[0] = lines[0].replace(word, styled, 1)
    return lines + (_wrapped(" " * len(prefix) + "-> ", one_line(check.fix)) if check.fix else [])


def _wrapped(prefix: str, text: str) -> list[str]:
    indent = " " * len(prefix)
    return textwrap.wrap(
        text,
        _columns(),
        initial_indent=prefix,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    ) or [prefix.rstrip()]


def _fact(name: str, text: str) -> list[str]:
    return _wrapped(f"  {name:<{NAME}} ", text)


def _model(model: Model) -> list[str]:
    shape, count = model.shape, model.parameters
    if shape is None or count is None:
        return _fact("shape", "unknown, so memory cannot be estimated")
    parts = {
        "attention": count.attention,
        "MLP": count.mlp,
        "embedding": count.embedding,
        "output head": count.head,
        "norms": count.norms,
        "other": count.other,
        "other towers, frozen": count.frozen,
    }
    named = ", ".join(f"{_millions(size)} {part}" for part, size in parts.items() if size)
    heads = f"{shape.heads} heads of {shape.head_dim}, {shape.kv_heads} for keys and values"
    described = (
        f"{shape.model_type or '?'}, {shape.layers} layers of {shape.hidden}, {heads}, {shape.vocab:,} tokens known"
    )
    if shape.sliding_window:
        described += f", {shape.sliding_layers} layers see {shape.sliding_window:,} tokens back"
    return [
        *_fact("parameters", f"{count.total:,}, by {count.source}: {named}"),
        *_fact("shape", described),
    ]


def _millions(size: int) -> str:
    return f"{size / 1e6:,.1f}M" if size >= 1e5 else f"{size:,}"


def _plan(plan: Plan) -> list[str]:
    step = f"{plan.prompts} prompts x {plan.samples} responses = {plan.responses_per_step:,}"
    step += f", {plan.tokens_per_step:,} tokens at most"
    if plan.rounds > 1:
        step += f", sampled again up to {plan.rounds} rounds ({plan.rounds * plan.responses_per_step:,} responses)"
    update = f"{plan.updates_per_step} per step, each in up to {plan.micro_batches_per_update} micro-batches"
    whole = f"{plan.steps:,} steps, {plan.responses:,} responses"
    lines = [*_fact("step", step), *_fact("updates", update), *_fact("run", whole)]
    if plan.evaluations:
        sets = f"{plan.eval_sets} sets x " if plan.eval_sets > 1 else ""
        each = f"{plan.evaluations} x {sets}{plan.eval_problems} problems x {plan.eval_samples}"
        lines += _fact("evaluation", f"{each} = {plan.eval_responses:,} responses at most")
    return lines


def _memory(memory: Estimate) -> list[str]:
    size = 24
    lines = [_heading(f"{'memory, about':<{size}}{'sampling':>10}  {'updating':>10}")]
    for part in dict.fromkeys([*memory.generating, *memory.updating]):
        cells = [byte_size(found[part]) if part in found else "" for found in (memory.generating, memory.updating)]
        lines.append(f"  {part:<{size - 2}}{cells[0]:>10}  {cells[1]:>10}")
    sums = [byte_size(sum(found.values())) for found in (memory.generating, memory.updating)]
    lines.append(_heading(f"  {'together':<{size - 2}}{sums[0]:>10}  {sums[1]:>10}"))
    if memory.unknown:
        lines += _wrapped("  ", f"not in it: {memory.unknown}")
    return lines


def _hours(found: Hours) -> list[str]:
    parts = f"{hours(found.sampling)} sampling, {hours(found.updating)} updating, {hours(found.evaluating)} evaluating"
    assumed = [line for words in Assumptions().words() for line in _fact("assumed", words)]
    return [*_fact("hours", f"{hours(found.total)}: {parts}"), *assumed]


def _advice(item: Advice) -> list[str]:
    text = f"  {' '.join(item.options())}"
    return [text, *_wrapped("      ", f"takes about {byte_size(item.peak)}{f'; {item.why}' if item.why else ''}")]
