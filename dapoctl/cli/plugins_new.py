"""`dapoctl plugins new`: a new component, as a package or as a single file."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dapoctl.cli.output import emit
from dapoctl.views.text import plain


def _list_stages(requested: bool) -> None:
    if requested:
        from dapoctl.authoring.stages import DEFAULT, stages

        emit("\n".join(stage.line for stage in stages().values()))
        emit(
            "one: exactly one per run; any: any number, their order does not matter\n"
            f"`dapoctl plugins new NAME --stage {DEFAULT}` makes a component for one of them"
        )
        raise typer.Exit


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as length-budget; its class will be LengthBudget.")],
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="The folder to create, default: NAME; with --single-file the folder to write to."
        ),
    ] = None,
    stage: Annotated[
        str, typer.Option("--stage", metavar="HOOK", help="Its hook; see --list-stages.")
    ] = "shape_rewards",
    single_file: Annotated[
        bool, typer.Option("--single-file", help="Write the component only, in a file that is used by its path.")
    ] = False,
    list_stages: Annotated[  # noqa: ARG001 (its callback prints and exits)
        bool,
        typer.Option("--list-stages", help="List the hooks, and exit.", callback=_list_stages, is_eager=True),
    ] = False,
) -> None:
    """Start a component: a package that installs, is found and passes its tests, ready to change."""
    from dapoctl.authoring.names import check_free, spell
    from dapoctl.authoring.project import check_absent, component_source, package_files, run_command, write, write_file
    from dapoctl.authoring.stages import find_stage
    from dapoctl.components.catalog import installed

    hook, names = find_stage(stage), spell(name)
    path = (directory or Path()) / f"{names.component}.py"
    if single_file:
        check_absent(path)
    check_free(names, installed(), single_file)
    if single_file:
        write_file(path, component_source(names, hook))
        where = shlex.quote(f"{path if path.is_absolute() else f'./{path}'}:{names.cls}")
        _say([path], [f"dapoctl plugins check {where}", run_command(where, hook)])
        return
    folder = directory or Path(name)
    written = write(folder, package_files(names, hook))
    _say(
        written,
        [
            f"cd {shlex.quote(str(folder))}",
            "pip install -e .",
            f"dapoctl plugins check {names.component}",
            run_command(names.component, hook),
        ],
    )


def _say(written: list[Path], commands: list[str]) -> None:
    lines = [*(f"wrote {path}" for path in written), "", "Next:", *(f"  {command}" for command in commands)]
    emit(plain("\n".join(lines)))
