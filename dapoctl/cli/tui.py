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
    readonly: Annotated[bool, typer.Option("--readonly", help="Only look: start, stop and change nothing.")] = False,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys", metavar="FILE", help="TOML file with your key bindings; default: keys.toml in your config folder."
        ),
    ] = None,
    theme: Annotated[
        str | None,
        typer.Option("--theme", metavar="NAME", envvar="DAPOCTL_THEME", help="Colours: textual-dark, nord, ..."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve it to a browser; each tab is a separate session.")
    ] = False,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="NAME",
            help="With --serve: the address to listen on. By default only this machine is served, since anyone who"
            " can open the page acts as you; from another machine, `ssh -L 8000:localhost:8000 MACHINE`.",
        ),
    ] = "localhost",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535, help="With --serve: the port.")] = 8000,
) -> None:
    """Launch runs, watch their curves and logs, compare what they learned. Runs continue when you quit.

    While it is open, your own queued runs are started when their turn comes; with --readonly none is.
    """
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
    """The file with the user's key bindings, checked; None if there is none."""
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

    # A served session talks to the browser through pipes.
    if not os.environ.get("TEXTUAL_DRIVER") and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "`dapoctl tui` needs a terminal; `dapoctl runs list` and the other commands print the same as text,"
            " and `dapoctl tui --serve` shows it in a browser"
        )
    if not os.environ.get("NO_COLOR"):
        # Set but empty counts as unset (no-color.org); Textual would disable colours.
        os.environ.pop("NO_COLOR", None)
