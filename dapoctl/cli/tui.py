"""`dapoctl tui`: the workbench in a terminal, or in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from dapoctl.cli.options import RunsDir
from dapoctl.errors import UserError


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("tui")(tui)


def tui(
    runs_dir: RunsDir = None,
    readonly: Annotated[bool, typer.Option("--readonly", help="Start, stop and change nothing.")] = False,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys", metavar="FILE", help="TOML file with other keys; by default the one in your config folder."
        ),
    ] = None,
) -> None:
    """Launch runs, watch their curves and logs, compare what they learned. Leaving it leaves runs running."""
    import sys

    from dapoctl.runs.store import runs_root

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "`dapoctl tui` needs a terminal; `dapoctl runs list` and the other commands say the same in text"
        )

    from dapoctl.tui.app import Bench
    from dapoctl.tui.bindings import binding_ids
    from dapoctl.tui.keys import keymap_path, read_keymap

    path = keys or (keymap_path() if keymap_path().is_file() else None)
    if path is not None:
        read_keymap(path, binding_ids())
    Bench(runs_root(runs_dir), readonly=readonly, keymap=path).run()
