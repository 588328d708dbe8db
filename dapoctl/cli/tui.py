"""`dapoctl tui`: the workbench in a terminal, or in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from dapoctl.cli.options import RunsDir
from dapoctl.errors import UserError, nearest


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
    theme: Annotated[
        str | None,
        typer.Option("--theme", metavar="NAME", envvar="DAPOCTL_THEME", help="Colours: textual-dark, nord, ..."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show it in a browser, each tab a session of its own.")
    ] = False,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="NAME",
            help="With --serve: the address to listen at. By default only this machine is served, as whoever reaches"
            " it acts as you; from elsewhere, `ssh -L 8000:localhost:8000 MACHINE`.",
        ),
    ] = "localhost",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535, help="With --serve.")] = 8000,
) -> None:
    """Launch runs, watch their curves and logs, compare what they learned. Leaving it leaves runs running."""
    from dapoctl.runs.store import runs_root

    root = runs_root(runs_dir)
    keymap = _keymap(keys)
    _check_theme(theme)
    if serve:
        from dapoctl.cli.serving import serve as serve_sessions

        serve_sessions(root, host, port, readonly=readonly, keys=keymap, theme=theme)
        return
    _check_terminal()
    from dapoctl.tui.app import Workbench

    app = Workbench(root, readonly=readonly, keymap=keymap, theme=theme)
    app.run()
    if app.return_code:
        raise typer.Exit(app.return_code)


def _keymap(given: Path | None) -> Path | None:
    """The file with the user's keys, once it is known to be right."""
    from dapoctl.tui.keys import keymap_path, read_keymap

    path = given or (keymap_path() if keymap_path().is_file() else None)
    if path is not None:
        from dapoctl.tui.help_page import binding_ids

        read_keymap(path, binding_ids())
    return path


def _check_theme(name: str | None) -> None:
    from textual.theme import BUILTIN_THEMES

    if name is not None and name not in BUILTIN_THEMES:
        known = sorted(BUILTIN_THEMES)
        raise UserError(f"there is no theme `{name}`.{nearest(name, known)} Known: {', '.join(known)}")


def _check_terminal() -> None:
    import os
    import sys

    # A served session speaks to the browser through pipes.
    if not os.environ.get("TEXTUAL_DRIVER") and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "`dapoctl tui` needs a terminal; `dapoctl runs list` and the other commands say the same in text,"
            " and `dapoctl tui --serve` shows it in a browser"
        )
    if not os.environ.get("NO_COLOR"):
        # Set but empty means nothing (no-color.org); Textual would take it as a wish.
        os.environ.pop("NO_COLOR", None)
