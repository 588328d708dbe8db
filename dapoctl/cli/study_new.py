"""`dapoctl study new`: a study to fill in."""

from pathlib import Path
from typing import Annotated

import typer

from dapoctl.cli.output import emit
from dapoctl.errors import UserError

USUAL = ("grpo=clip,sequence_mean", "dapo=clip_higher,dynamic_sampling,token_mean,overlong")


def add_to(group: typer.Typer) -> None:
    """Register the command."""
    group.command("new")(new)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the study.")],
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME=A,B", help="An arm and its plugins; repeat it. The first is the baseline."),
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", "-c", metavar="FILE", help="A TOML file that every run begins with.")
    ] = None,
    task: Annotated[
        str, typer.Option("--task", metavar="NAME", help="The set that runs are evaluated on.")
    ] = "arithmetic",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: NAME.toml.")] = None,
) -> None:
    """Write a study that compares arms, with a placebo, ready for `study plan`. By default GRPO and DAPO on `tiny`."""
    from dapoctl.runs.files import write_text
    from dapoctl.study.template import new_study

    arms = {}
    for text in arm or USUAL:
        label, equals, plugins = text.partition("=")
        if not equals or label in arms:
            raise UserError(f"--arm {text}: must be NAME=PLUGIN,PLUGIN, each name once; NAME= for the recipe alone")
        arms[label] = [word.strip() for word in plugins.split(",") if word.strip()]
    if len(arms) < 2:
        raise UserError("--arm: a comparison takes two arms at least, the baseline first")
    file = output or Path(f"{name}.toml")
    if file.exists():
        raise UserError(f"{file} is there already; choose another name, or --output FILE")
    write_text(file, new_study(name, str(file), arms, config or (), task))
    emit(f"wrote {file}; next: dapoctl study plan {file}")
