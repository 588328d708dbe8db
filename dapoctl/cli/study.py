"""`dapoctl study`: arms and seeds planned before they are run, and what may be said afterwards."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dapoctl.cli import study_new, study_results
from dapoctl.cli.options import GpuName, Gpus, Json, RunsDir
from dapoctl.cli.output import command_group, emit, emit_json, told_warnings, warn
from dapoctl.cli.study_results import File
from dapoctl.errors import UserError
from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.study.plan import Plan
    from dapoctl.study.progress import Made

INTERRUPTED = 130

group = command_group("Studies: planned arms and seeds, carried out and judged.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    study_new.add_to(group)
    study_results.add_to(group)
    app.add_typer(group, name="study")


@group.command("plan")
def plan(
    file: File,
    gpu: GpuName = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Print the runs of a study, its outcomes, and what speaks against it. Nothing is started.

    An arm that would be the same as another, or whose component cannot act, is refused. Exit code 1: an arm does not fit --gpu.
    """
    from dapoctl.doctor.gpus import find_gpu
    from dapoctl.runs.store import runs_root
    from dapoctl.study.estimate import estimate
    from dapoctl.study.plan import make_plan
    from dapoctl.study.progress import hours_left, hours_of, progress
    from dapoctl.views import columns
    from dapoctl.views.numbers import hours
    from dapoctl.views.study import ARMS, ESTIMATES, arm_lines, estimate_parts, way
    from dapoctl.views.tables import heading, laid_out, note, text
    from dapoctl.views.terminal import width

    known = find_gpu(gpu) if gpu is not None else None
    made_plan, root = make_plan(file), runs_root(runs_dir)
    estimated = [*estimate(made_plan, root, known)] if known is not None else []
    made = progress(made_plan, root)
    taken, left = hours_of(made), hours_left(made, _at_once())
    study = made_plan.study
    if json:
        emit_json({
            "name": study.study.name, "group": made_plan.group, "digest": made_plan.digest, "runs": len(made_plan.runs),
            "hours_left": left, "arms": [columns.record(ARMS, line) for line in arm_lines(made_plan, made, taken)],
            "order": [run.name for run in made_plan.runs], "warnings": made_plan.warnings,
            "gpu": gpu, "estimated": [columns.record(ESTIMATES, row) for row in estimated],
        })  # fmt: skip
        raise typer.Exit(any(row.problem for row in estimated))
    parts: list[RenderableType] = [text(f"{study.study.name}: {study.study.question}", "bold")]
    parts.append(columns.terminal_table(ARMS, arm_lines(made_plan, made, taken), width()))
    parts.append(heading("outcomes"))
    parts += [
        text(f"{name}: {outcome.metric}, {way(outcome)} ({outcome.role}, {outcome.better} is better)")
        for name, outcome in study.outcome.items()
    ]
    words = (
        "" if left is None else f", about {hours(left)} hours left at {_at_once()} at once, from runs that are finished"
    )
    parts.append(
        note(f"{len(made_plan.runs)} runs in the group {made_plan.group}{words}; plan {made_plan.digest[:12]}")
    )
    if known is not None:
        parts += estimate_parts(known, estimated, width())
    emit(laid_out(parts, width()))
    for warning in made_plan.warnings:
        warn(warning)
    _tell_of_foreign(made)
    budget, by_arithmetic = study.study.budget_hours, sum(row.hours for row in estimated)
    for total, words in ((left, "that are left"), (by_arithmetic, "by arithmetic")):
        if total is not None and budget is not None and total > budget:
            warn(f"`study.budget_hours` = {budget:g}: the runs {words} take about {hours(total)} hours")
    raise typer.Exit(any(row.problem for row in estimated))


@group.command("run")
def run(
    file: File,
    pilot: Annotated[bool, typer.Option("--pilot", help="Only the pilot, which does not freeze the plan.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Queue what is missing and return.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Make failed runs anew.")] = False,
    gpus: Gpus = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Queue every run of a study that is missing, resume those that were interrupted, and wait for them.

    It may be killed at any moment: runs that were queued go on, and the same command goes on with the rest. The plan is frozen
    before the first run; later changes of the file are listed in the report.
    """
    import os

    from dapoctl.runs.store import runs_root
    from dapoctl.study.launch import submit, wait
    from dapoctl.study.plan import check_inputs, freeze, make_plan
    from dapoctl.study.progress import states

    made_plan, root = make_plan(file), runs_root(runs_dir)
    if pilot:
        made_plan = _pilot_of(made_plan)
    if made_plan.study.study.slots is not None:
        os.environ.setdefault("DAPOCTL_SLOTS", str(made_plan.study.study.slots))
    check_inputs(made_plan)
    for warning in made_plan.warnings:
        warn(warning)
    if not pilot and (changes := freeze(made_plan, root)["changes"]):
        warn(f"the plan was changed {len(changes)} times since it was frozen; the report lists the changes")
    queued = submit(made_plan, root, sys.argv, retry_failed, gpus)
    if detach:
        _tell(made_plan, root, queued, json)
        return
    made = wait(made_plan, root, _watch())
    _tell_of_foreign(made)
    _evaluate(made_plan, root, made)
    counts = states(made)
    if json:
        emit_json({"group": made_plan.group, "states": counts})
    else:
        emit(one_line(f"{made_plan.group}: {', '.join(f'{number} {state}' for state, number in counts.items())}"))
        emit(one_line(f"what they say: dapoctl study results {file}"))
    raise typer.Exit(1 if counts.get("failed") else 0)


@group.command("evaluate")
def evaluate(file: File, runs_dir: RunsDir = None) -> None:
    """Ask the finished runs of a study the problems of its [set.NAME] tables; `study run` does so at its end.

    What is stored is not asked again. Ctrl-C stops it; the same command goes on.
    """
    from dapoctl.runs.store import runs_root
    from dapoctl.study.plan import make_plan
    from dapoctl.study.progress import progress

    made_plan, root = make_plan(file), runs_root(runs_dir)
    if not made_plan.study.set:
        raise UserError(f"{file} has no [set.NAME] table: there is nothing to ask")
    _evaluate(made_plan, root, progress(made_plan, root))


def _evaluate(made_plan: "Plan", root: Path, made: "Sequence[Made]") -> None:
    from dapoctl.cli.live import Ticker
    from dapoctl.study.evaluations import evaluate_all

    if not made_plan.study.set:
        return
    ticker = Ticker(sys.stderr, made_plan.study.study.name, "evaluations")
    with told_warnings(), ticker.shown():
        whole = evaluate_all(made_plan, root, made, ticker.tell)
    if not whole:
        raise typer.Exit(INTERRUPTED)


@group.command("status")
def status(file: File, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Say how far the runs of a study are, and which failed."""
    from dapoctl.runs.store import runs_root
    from dapoctl.study.plan import make_plan
    from dapoctl.study.progress import hours_left, hours_of, progress, states
    from dapoctl.views import columns
    from dapoctl.views.numbers import hours
    from dapoctl.views.study import ARMS, arm_lines
    from dapoctl.views.tables import laid_out
    from dapoctl.views.terminal import width

    made_plan, root = make_plan(file), runs_root(runs_dir)
    made = progress(made_plan, root)
    taken, left, counts = hours_of(made), hours_left(made, _at_once()), states(made)
    failed = {each.planned.name: each.run.why for each in made if each.run is not None and each.state == "failed"}
    lines = arm_lines(made_plan, made, taken)
    if json:
        emit_json({
            "group": made_plan.group, "states": counts, "hours_left": left, "failed": failed,
            "arms": [columns.record(ARMS, line) for line in lines],
        })  # fmt: skip
        return
    emit(laid_out([columns.terminal_table(ARMS, lines, width())], width()))
    words = f"; about {hours(left)} hours left" if left else ""
    emit(f"{', '.join(f'{number} {state}' for state, number in counts.items())} of {len(made)}{words}")
    for name, why in failed.items():
        warn(f"{name} failed: {why}")
    _tell_of_foreign(made)


def _tell_of_foreign(made: "Sequence[Made]") -> None:
    from dapoctl.study.progress import foreign_words

    if words := foreign_words(made):
        warn(words)


def _at_once() -> int:
    from dapoctl.runs.jobs.leases import devices

    return len(devices())


def _pilot_of(made_plan: "Plan") -> "Plan":
    from dataclasses import replace

    pilot = made_plan.study.design.pilot
    if pilot is None:
        raise UserError("--pilot: the study has none; add `pilot = {arm = ..., seeds = 10}` to [design]")
    return replace(made_plan, runs=made_plan.runs[: pilot.seeds])


def _tell(made_plan: "Plan", root: Path, queued: Sequence[str], json: bool) -> None:
    from dapoctl.study.progress import progress, states

    counts = states(progress(made_plan, root))
    if json:
        emit_json({"group": made_plan.group, "queued": list(queued), "states": counts})
        return
    emit(one_line(f"{len(queued)} runs queued in the group {made_plan.group}"))


def _watch() -> "Callable[[Sequence[Made]], None]":
    """Tells how far the runs are, each time that a count changes."""
    from dapoctl.study.progress import hours_left, states
    from dapoctl.views.numbers import hours

    said = ""

    def look(made: "Sequence[Made]") -> None:
        nonlocal said
        words = ", ".join(f"{number} {state}" for state, number in states(made).items())
        if words != said:
            said = words
            left = hours_left(made, _at_once())
            emit(f"{words}" + (f"; about {hours(left)} hours left" if left else ""), to_error=True)

    return look
