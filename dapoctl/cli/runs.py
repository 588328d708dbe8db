"""`dapoctl runs`: what was trained, and going on with it."""

from typing import TYPE_CHECKING, Any

import typer

from dapoctl.cli.options import Json, RunId, RunsDir
from dapoctl.cli.output import emit, emit_json, show_help, warn
from dapoctl.cli.profile import Profile, ProfileSteps, asked_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dapoctl.components.base import Component
    from dapoctl.runs.store import RunSummary
    from dapoctl.trainer import Result

group = typer.Typer(help="Look at runs, resume them.", invoke_without_command=True)


@group.callback()
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show_help(context)


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    app.add_typer(group, name="runs")


@group.command("list")
def list_(runs_dir: RunsDir = None, json: Json = False) -> None:
    """Every run, the newest last."""
    from dapoctl.cli.tables import runs_table
    from dapoctl.runs.store import list_runs, runs_root

    root = runs_root(runs_dir)
    found = list_runs(root)
    if json:
        emit_json([_as_dict(summary) for summary in found])
    elif found:
        emit("\n".join(runs_table(found)))
    else:
        emit(f"no runs in {root}; `dapoctl run` makes one", to_error=True)


@group.command("show")
def show(run: RunId, runs_dir: RunsDir = None, json: Json = False) -> None:
    """One run: state, components, last metrics."""
    from dapoctl.cli.tables import run_page
    from dapoctl.profiling import read_profile
    from dapoctl.runs.store import find_run, read_run, runs_root

    summary = read_run(find_run(runs_root(runs_dir), run))
    if json:
        emit_json(_as_dict(summary) | {"spec": summary.spec, "profile": read_profile(summary.directory)})
        return
    emit("\n".join(run_page(summary)))
    if summary.problem:
        warn(f"{summary.directory}: {summary.problem}")


@group.command("resume")
def resume(
    run: RunId,
    runs_dir: RunsDir = None,
    profile: Profile = False,
    profile_steps: ProfileSteps = None,
    json: Json = False,
) -> None:
    """Go on with a stopped or failed run from its last checkpoint, in the foreground."""
    from dapoctl.cli.foreground import foreground
    from dapoctl.runs.store import find_run, read_run, runs_root

    directory = find_run(runs_root(runs_dir), run)
    summary = read_run(directory)
    asked = asked_profile(profile, profile_steps)

    def train(observers: "Sequence[Component]") -> "Result":
        from dapoctl import trainer

        return trainer.resume(directory, observers, asked)

    raise typer.Exit(foreground(train, summary.id, summary.steps, runs_dir, json))


def _as_dict(summary: "RunSummary") -> dict[str, Any]:
    return {
        "id": summary.id,
        "name": summary.name,
        "state": summary.state,
        "step": summary.step,
        "steps": summary.steps,
        "created": summary.created,
        "components": list(summary.components),
        "metrics": summary.metrics,
        "directory": str(summary.directory),
        "problem": summary.problem,
    }
