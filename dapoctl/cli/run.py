"""`dapoctl run`: train in the foreground."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dapoctl.cli.options import RunsDir
from dapoctl.cli.output import emit, emit_json, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dapoctl.components.base import Component
    from dapoctl.trainer import Result


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run")(run)


def run(
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", "-c", metavar="FILE", help="TOML file; repeat it, later files win."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Components to start from: grpo (the default), dapo, ...")
    ] = None,
    plugins: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B",
            help="Components that replace or join the recipe's: names, `./idea.py:MyIdea`, `-name` leaves one out.",
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Such as steps=50, optim.lr=1e-5, clip_higher.eps_high=0.3."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Part of the run's id.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Everything random is a function of it.")] = None,
    runs_dir: RunsDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration as TOML and exit; nothing is trained.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result (with --dry-run, the configuration) as one JSON object.")
    ] = False,
) -> None:
    """Train a model: `dapoctl run` alone trains the tiny model that ships with dapoctl.

    Ctrl-C stops after saving a checkpoint, a second Ctrl-C at once.
    """
    from dapoctl.config.load import load, split_names

    resolved = load(
        config or [],
        override or [],
        {"recipe": recipe, "plugins": split_names(plugins or []), "name": name, "seed": seed},
    )
    for warning in resolved.warnings:
        warn(warning)
    if dry_run:
        emit_json(resolved.as_dict()) if json else emit(resolved.as_toml().rstrip("\n"))
        return

    from dapoctl.cli.foreground import foreground
    from dapoctl.runs.store import runs_root

    def train(observers: "Sequence[Component]") -> "Result":
        from dapoctl import trainer

        return trainer.start(resolved, runs_root(runs_dir), sys.argv, observers)

    raise typer.Exit(foreground(train, resolved.config.model.path, resolved.config.steps, runs_dir, json))
