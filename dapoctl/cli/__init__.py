"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

import os
import sys
import tempfile
import traceback
from types import NoneType
from typing import Annotated

import typer

from dapoctl.cli import (
    ablation,
    audit,
    compare,
    data,
    doctor,
    evaluate,
    plugins,
    probe,
    queue,
    rescore,
    run,
    runs,
    runs_card,
    runs_manage,
    runs_verify,
    scorers,
    study,
    sweep,
    tui,
)
from dapoctl.cli.output import emit, error, forgive_encodings, hush, show_help
from dapoctl.errors import TRACEBACK, DapoctlError, PluginError

DEBUG = "DAPOCTL_DEBUG"

app = typer.Typer(
    name="dapoctl",
    help="Reinforcement learning on small language models, one component at a time.",
    epilog="Start with: dapoctl run (a tiny model on this machine), dapoctl plugins list",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
run.add_to(app)
sweep.add_to(app)
study.add_to(app)
evaluate.add_to(app)
compare.add_to(app)
ablation.add_to(app)
rescore.add_to(app)
audit.add_to(app)
probe.add_to(app)
data.add_to(app)
scorers.add_to(app)
runs.add_to(app)
queue.add_to(app)
plugins.add_to(app)
doctor.add_to(app)
tui.add_to(app)


def _version(requested: bool) -> None:
    if requested:
        from dapoctl import __version__

        emit(f"dapoctl {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 (its callback prints and exits)
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        show_help(context)


def main() -> int:
    """Run the command in `sys.argv` and return the process's exit code.

    0: done. 1: the run or check failed. 2: the user's mistake. 130: interrupted.
    """
    forgive_encodings()
    try:
        code = app(prog_name="dapoctl", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        hush()
        return 0
    except Exception as problem:  # noqa: BLE001 (the boundary to the user)
        return _report(problem)
    return code if isinstance(code, int) else 0


def _report(problem: Exception) -> int:
    if os.environ.get(DEBUG) == "1":
        traceback.print_exc()
    if isinstance(problem, DapoctlError):
        error(str(problem))
        # The author of a plugin needs the traceback.
        traceback_helps = isinstance(problem, PluginError) and not isinstance(
            problem.__cause__, (SyntaxError, NoneType)
        )
        if kept := _kept(problem) or (traceback_helps and _save_traceback()):
            emit(f"{kept} ({DEBUG}=1 prints it here)", to_error=True)
        return problem.exit_code
    if isinstance(problem, typer.Abort):
        return 130
    # Typer's own errors are click's in some versions only; both have these two attributes.
    if hasattr(problem, "format_message") and hasattr(problem, "exit_code"):
        return _usage(problem)
    summary = f"unexpected {type(problem).__name__}: {problem}".rstrip(": ").replace("\n", " ")
    kept = _kept(problem) or _save_traceback()
    error(f"{summary} ({f'{kept}; ' if kept else ''}{DEBUG}=1 prints it here)")
    return 1


def _usage(problem: Exception) -> int:
    message, code = problem.format_message(), int(problem.exit_code)  # type: ignore[attr-defined]
    context = getattr(problem, "ctx", None)
    error(message)
    if context is not None:
        emit(f"{context.get_usage()}\n`{context.command_path} --help` says more.", to_error=True)
    return code


def _kept(problem: Exception) -> str:
    """The note that says where a run's log has the traceback, if it has it."""
    return next((note for note in getattr(problem, "__notes__", ()) if note.startswith(TRACEBACK)), "")


def _save_traceback() -> str:
    """Save the traceback of the error being handled, since hours of training may have led to it; says where."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="dapoctl-", suffix=".traceback.txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            traceback.print_exc(file=file)
    except OSError:
        return ""
    return f"{TRACEBACK} {file.name}"


__all__ = ["app", "main", "runs_card", "runs_manage", "runs_verify"]
