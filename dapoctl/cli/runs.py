"""`dapoctl runs`: list, show and compare runs. Commands that act on runs are in `runs_manage`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from dapoctl.cli.options import Json, RunId, RunsDir
from dapoctl.cli.output import command_group, emit, emit_json, warn
from dapoctl.views.text import one_line

group = command_group("List, show, stop, resume and delete runs.")


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    app.add_typer(group, name="runs")


def start_waiting(root: Path) -> list[str]:
    """Start the user's own runs whose turn it is, and return them; what cannot be started keeps nobody from looking."""
    from dapoctl.runs.jobs.scheduler import schedule_if_possible

    started, problem = schedule_if_possible(root)
    if problem:
        warn(f"no waiting run was started: {problem}")
    return started


def _tell_of_foreign(root: Path) -> None:
    from dapoctl.runs.jobs.scheduler import not_startable
    from dapoctl.runs.tickets import tickets

    left = [(ticket.run, why) for ticket in tickets(root) if (why := not_startable(root, ticket))]
    if left:
        run, why = left[0]
        others = f"; {len(left) - 1} more: see `dapoctl queue list`" if len(left) > 1 else ""
        warn(f"`{run}` waits and was not started: it is {why}{others}")


@group.command("list")
def list_(
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="QUERY", help="Such as 'gkl and state=finished and eval.aime24.avg>0.1'."),
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """List every run, the newest last.

    Of your own queued runs those whose turn it is are started first, and named; nobody else's are.

    A QUERY combines tests with `and`, `or`, `not` and parentheses. A word alone matches a component, a tag, a state or a part
    of the id; `field=value` (also != < <= > >= and ~ for "contains") tests id, name, state, step, created, group, tag,
    model, any key of the configuration (optim.lr) and any metric (reward.mean, eval.aime24.avg).
    """
    from dapoctl.runs.index import list_runs
    from dapoctl.runs.query import parse, select
    from dapoctl.runs.store import runs_root
    from dapoctl.runs.tickets import tickets
    from dapoctl.views.runs_table import run_values, runs_lines

    if filter_ is not None:
        parse(filter_)
    root = runs_root(runs_dir)
    if tickets(root):
        for run in start_waiting(root):
            emit(f"started {one_line(run)}", to_error=True)
        _tell_of_foreign(root)
    selected = everything = list_runs(root)
    if filter_ is not None:
        selected = select(everything, filter_)
    if json:
        emit_json([run_values(summary) for summary in selected])
    elif selected:
        emit("\n".join(runs_lines(selected)))
    elif everything:
        emit(f"none of the {len(everything)} runs in {root} matches", to_error=True)
    else:
        emit(f"no runs in {root}; `dapoctl run` starts one", to_error=True)


@group.command("show")
def show(run: RunId, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Show a run: state, components, last metrics."""
    from dapoctl.runs.outlived import outlived, outlived_words
    from dapoctl.runs.state import ALIVE
    from dapoctl.runs.store import find_run, runs_root
    from dapoctl.runs.summary import metric_rows, read_run
    from dapoctl.training.profiling import read_profile
    from dapoctl.views.runs import run_page
    from dapoctl.views.runs_table import run_values

    summary = read_run(find_run(runs_root(runs_dir), run))
    last_values: dict[str, float] = {}
    for row in metric_rows(summary.directory):
        last_values |= row["metrics"]
    summary = dataclasses.replace(summary, metrics=summary.metrics | last_values)
    left = [] if summary.problem or summary.state in ALIVE else outlived(summary.directory)
    if json:
        more = {"spec": summary.spec, "profile": read_profile(summary.directory), "outlived": left}
        emit_json(run_values(summary) | more)
        return
    emit("\n".join(run_page(summary, outlived_words(left))))
    if summary.problem:
        warn(f"{summary.directory}: {summary.problem}")


@group.command("diff")
def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    second: Annotated[str, typer.Argument(metavar="OTHER", help="The run to compare it with.")],
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Show how the configurations of two runs differ: components first, then key by key."""
    from dapoctl.errors import UserError
    from dapoctl.runs.difference import difference
    from dapoctl.runs.store import find_run, runs_root
    from dapoctl.runs.summary import read_run
    from dapoctl.views.runs import diff_lines

    root = runs_root(runs_dir)
    both = [read_run(find_run(root, name)) for name in (first, second)]
    for summary in both:
        if summary.problem:
            raise UserError(f"`{summary.directory}` cannot be compared: {summary.problem}")
    differences = difference(*both)
    if json:
        emit_json({"runs": [summary.id for summary in both], **dataclasses.asdict(differences)})
    else:
        emit("\n".join(diff_lines(both[0].id, both[1].id, differences)))


@group.command("attempt", hidden=True)
def attempt(directory: Path, number: int) -> None:
    """Train a run for its supervisor; nothing else calls this."""
    from dapoctl.cli.foreground import foreground
    from dapoctl.errors import DapoctlError
    from dapoctl.runs.attempts import EXIT, attempt_folder, write_failure
    from dapoctl.runs.files import read_json
    from dapoctl.runs.summary import read_run

    def train(observers: Any) -> Any:
        from dapoctl.training.attempt import resume

        return resume(directory, observers, attempt=number)

    summary = read_run(directory)
    try:
        code = foreground(train, summary.id, summary.steps, directory.parent, json=False, supervised=True)
    except Exception as error:
        # What fails before the attempt has begun would be known by its exit code alone.
        if read_json(attempt_folder(directory, number) / EXIT) is None:
            write_failure(directory, number, str(error) if isinstance(error, DapoctlError) else repr(error))
        raise
    raise typer.Exit(code)
