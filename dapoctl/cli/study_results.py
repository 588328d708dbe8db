"""`dapoctl study power` and `results`: what a plan would detect, and what its runs say."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dapoctl.cli.options import Json, RunsDir
from dapoctl.cli.output import emit, emit_json
from dapoctl.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.study.analysis import Outcomes
    from dapoctl.study.plan import Plan

File = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study.", show_default=False)]


def add_to(group: typer.Typer) -> None:
    """Register the commands."""
    group.command("power")(power)
    group.command("results")(results)
    group.command("probe")(probe)
    group.command("report")(report)


def power(
    file: File,
    deviation: Annotated[
        float | None,
        typer.Option(
            "--deviation", metavar="SD", min=0, help="Standard deviation between seeds; default: of finished runs."
        ),
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Say what each planned difference detects, and how many seeds the smallest effect worth knowing takes.

    How much seeds differ is taken from the finished runs of the arm that has most of them, such as a pilot.
    """
    from dapoctl.runs.store import runs_root
    from dapoctl.study.analysis import planned_power
    from dapoctl.study.plan import make_plan
    from dapoctl.views import columns
    from dapoctl.views.study import POWERS, PowerLine
    from dapoctl.views.tables import laid_out
    from dapoctl.views.terminal import width

    made_plan = make_plan(file)
    found = {each.name: each for each in _results(made_plan, runs_root(runs_dir))}
    values: dict[str, Any] = {}
    for name, outcome in made_plan.study.outcome.items():
        spread, words = _spread(found[name], deviation)
        if spread is None:
            continue
        lines = [PowerLine(outcome, each) for each in planned_power(made_plan, spread)]
        values[name] = {
            "deviation": spread, "seeds_for_smallest": _seeds_for(made_plan, name, spread),
            "differences": [columns.record(POWERS, line) for line in lines],
        }  # fmt: skip
        if not json:
            emit(laid_out(_power_parts(made_plan, name, spread, words, lines), width()))
    if not values:
        raise UserError(
            "no arm has two finished runs yet: run the pilot (`dapoctl study run --pilot`), or give --deviation"
        )
    if json:
        emit_json(values)


def results(
    file: File,
    outcome: Annotated[
        list[str] | None, typer.Option("--outcome", metavar="NAME", help="Only these outcomes; repeat it.")
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Print the effects of a study's finished runs on its outcomes, with intervals and verdicts."""
    from dapoctl.errors import nearest
    from dapoctl.runs.store import runs_root
    from dapoctl.study.plan import make_plan
    from dapoctl.views.study import result_parts, values_of
    from dapoctl.views.tables import laid_out
    from dapoctl.views.terminal import width

    made_plan = make_plan(file)
    known = made_plan.study.outcome
    for name in outcome or ():
        if name not in known:
            raise UserError(f"--outcome {name}: no such outcome.{nearest(name, [*known])} Known: {', '.join(known)}")
    found = [each for each in _results(made_plan, runs_root(runs_dir)) if not outcome or each.name in outcome]
    if not any(each.values for each in found):
        raise UserError(
            f"no run of `{made_plan.study.study.name}` is finished yet; `dapoctl study status` says how far they are"
        )
    if json:
        emit_json(values_of(found))
        return
    for each in found:
        emit(laid_out(result_parts(each, width()), width()))


def probe(file: File, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Ask whether the study's models know the questions they are measured on by heart; the report shows the answer.

    As `dapoctl probe` does, of each model before training, on the sets that the runs are evaluated on.
    """
    from dapoctl.cli.live import Ticker
    from dapoctl.cli.output import told_warnings
    from dapoctl.runs.store import runs_root
    from dapoctl.study.plan import check_inputs, make_plan
    from dapoctl.study.probes import probe_study
    from dapoctl.views.probe import sentences

    made_plan = make_plan(file)
    check_inputs(made_plan)
    ticker = Ticker(sys.stderr, made_plan.study.study.name, "questions")
    with told_warnings(), ticker.shown():
        rows = probe_study(made_plan, runs_root(runs_dir), lambda done, total: ticker.tell("complete", done, total))
    if json:
        emit_json(rows)
        return
    for model, name, words in sentences(rows):
        emit(f"{name}: {model}: {words}")


def report(
    file: File,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: a folder `NAME-report` here.")
    ] = None,
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Without figures, which need matplotlib.")] = False,
    runs_dir: RunsDir = None,
) -> None:
    """Write a study's report: report.md, report.html with all figures inside, the figures, and its numbers as CSV."""
    from dapoctl.cli.live import Ticker
    from dapoctl.runs.files import storage_errors, write_text
    from dapoctl.runs.store import runs_root
    from dapoctl.study.evidence import gather
    from dapoctl.study.plan import make_plan
    from dapoctl.views.report.document import html, markdown, tables
    from dapoctl.views.report.figures import figures

    made_plan = make_plan(file)
    ticker = Ticker(sys.stderr, made_plan.study.study.name, "runs")
    with ticker.shown():
        evidence = gather(made_plan, runs_root(runs_dir), ticker.tell)
    name = made_plan.study.study.name
    if not evidence.curves:
        raise UserError(f"no run of `{name}` is finished yet; `dapoctl study status` says how far they are")
    drawn = {} if no_figures else figures(evidence)
    text = markdown(evidence, drawn)
    folder = output or Path(f"{name}-report")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for target, content in {
        "report.md": text,
        "report.html": html(name, text, drawn),
        **drawn,
        **tables(evidence),
    }.items():
        write_text(folder / target, content)
    emit(f"wrote {folder / 'report.md'} and {folder / 'report.html'}")


def _results(made_plan: "Plan", root: Path) -> "list[Outcomes]":
    from dapoctl.study.analysis import analyse, read_all
    from dapoctl.study.progress import finished, progress

    done = finished(progress(made_plan, root))
    return analyse(made_plan, read_all({planned: found.directory for planned, found in done.items()}))


def _spread(found: "Outcomes", deviation: float | None) -> tuple[float | None, str]:
    """(standard deviation between seeds, where it is from)."""
    import math

    from dapoctl.study.analysis import spread

    if deviation is not None:
        return deviation, "as given"
    arms = sorted({run.arm for run in found.values}, key=lambda arm: -found.fitted.count(arm))
    if not arms:
        return None, ""
    alone = spread(found, arms[0])
    if not math.isfinite(alone.deviation):
        return None, ""
    return alone.deviation, f"from {alone.count(arms[0])} runs of `{arms[0]}`"


def _seeds_for(made_plan: "Plan", name: str, spread: float) -> int | None:
    from dapoctl.evaluation.statistics.seed_power import seeds_for

    smallest = made_plan.study.outcome[name].smallest
    return seeds_for(smallest, spread, len(made_plan.arms)) if smallest and spread else None


def _power_parts(
    made_plan: "Plan", name: str, spread: float, words: str, lines: Sequence[Any]
) -> "list[RenderableType]":
    from dapoctl.views import columns
    from dapoctl.views.study import POWERS, change
    from dapoctl.views.tables import heading, note
    from dapoctl.views.terminal import width

    outcome = made_plan.study.outcome[name]
    shown = change(outcome, spread).lstrip("+")
    parts: list[RenderableType] = [heading(f"{name}: seeds differ by {shown} (standard deviation, {words})")]
    parts.append(columns.terminal_table(POWERS, lines, width()))
    if (seeds := _seeds_for(made_plan, name, spread)) is not None:
        smallest = change(outcome, outcome.smallest).lstrip("+")
        parts.append(
            note(f"two arms that differ by {smallest}, the smallest effect worth knowing, take {seeds} seeds each")
        )
    return parts
