"""`dapoctl run`: train, in the foreground or in the background."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dapoctl.cli.background import announce, asked_background
from dapoctl.cli.options import (
    ConfigFiles,
    Detach,
    Gpus,
    Name,
    Override,
    Plugins,
    Priority,
    Queue,
    Recipe,
    RunsDir,
    Seed,
    resolve_run,
)
from dapoctl.cli.output import emit, emit_json, warn
from dapoctl.cli.profile import Profile, ProfileSteps, asked_profile
from dapoctl.errors import UserError
from dapoctl.runs.jobs.submit import check, send_off
from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dapoctl.components.base import Component
    from dapoctl.config.resolve import Resolved
    from dapoctl.training.attempt import Result


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run")(run)


def run(
    config: ConfigFiles = None,
    recipe: Recipe = None,
    plugins: Plugins = None,
    override: Override = None,
    name: Name = None,
    seed: Seed = None,
    runs_dir: RunsDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration as TOML and exit; nothing is trained.")
    ] = False,
    with_data: Annotated[
        bool,
        typer.Option(
            "--check-data", help="With --dry-run: load all problems, and say on stderr what they are and what is wrong."
        ),
    ] = False,
    detach: Detach = False,
    queue: Queue = False,
    priority: Priority = None,
    gpus: Gpus = None,
    profile: Profile = False,
    profile_steps: ProfileSteps = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result (with --dry-run, the configuration) as one JSON object.")
    ] = False,
) -> None:
    """Train a model: `dapoctl run` alone trains the tiny model that ships with dapoctl.

    Ctrl-C stops after saving a checkpoint, a second Ctrl-C at once. With --detach or --queue the run outlives this
    terminal.
    """
    background = asked_background(detach, queue, priority, gpus)
    resolved = resolve_run(config, override, recipe, plugins, name, seed)
    profiled = asked_profile(profile, profile_steps)
    if profiled is not None:
        if dry_run:
            raise UserError("--profile needs a run, and --dry-run starts none: choose one")
        if background is not None:
            raise UserError("--profile shows its table in the foreground: leave out --detach and --queue")
        profiled.choose(0, resolved.config.steps)
    if with_data and not dry_run:
        raise UserError("--check-data belongs to --dry-run; a run loads its data anyway")
    if dry_run:
        if with_data:
            _tell_of_data(resolved)
        emit_json(resolved.as_dict()) if json else emit(resolved.as_toml().rstrip("\n"))
        return

    from dapoctl.cli.foreground import foreground
    from dapoctl.evaluation.inputs import check_inputs
    from dapoctl.runs.jobs.control import in_front
    from dapoctl.runs.store import runs_root

    check_inputs(resolved.config, resolved.pipeline)
    if background is not None:
        from dapoctl.runs.jobs.create import create

        check(background, resolved.as_dict())
        directory = create(resolved, runs_root(runs_dir), sys.argv).resolve()
        submitted = send_off([directory], background, resolved.as_dict(), new=True)
        emit_json(submitted[0]) if json else announce(submitted, runs_dir)
        return

    def train(observers: "Sequence[Component]") -> "Result":
        from dapoctl.training.attempt import start

        return start(resolved, runs_root(runs_dir), sys.argv, observers, profiled)

    with in_front(resolved.config.name or "a run in the foreground", resolved.as_dict()):
        raise typer.Exit(foreground(train, resolved.config.model.path, resolved.config.steps, runs_dir, json))


def _tell_of_data(resolved: "Resolved") -> None:
    from dapoctl.evaluation.run_data import check_data

    lines, doubts = check_data(resolved.config, resolved.pipeline, resolved.asked_for)
    emit(one_line(f"data: {'; '.join(lines)}"), to_error=True)
    for doubt in doubts:
        warn(doubt)
