"""The output of commands: results on stdout, all else on stderr, foreign text without its control characters."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import typer

from dapoctl.errors import RunWarning
from dapoctl.views.terminal import colours
from dapoctl.views.text import json_text, plain


def emit(text: str, to_error: bool = False) -> None:
    """Write `text` and a newline to stdout.

    If the reader has closed the pipe, the command ends quietly; if the terminal is gone, it goes on without a word.
    """
    stream = sys.stderr if to_error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        hush()
        raise typer.Exit(0) from None
    except OSError as problem:
        if problem.errno != errno.EIO:
            raise
        hush(stream)


def emit_json(value: Any, compact: bool = False) -> None:
    """Write `value` as JSON to stdout, on one line if `compact`; non-finite numbers become "NaN", "Infinity", "-Infinity"."""
    emit(json_text(value, indent=None if compact else 2))


def error(message: str) -> None:
    """`error: message` on stderr."""
    _say("error:", typer.colors.RED, message)


def warn(message: str) -> None:
    """`warning: message` on stderr."""
    _say("warning:", typer.colors.YELLOW, message)


def _say(prefix: str, colour: str, message: str) -> None:
    styled = typer.style(prefix, fg=colour, bold=True) if colours(sys.stderr) else prefix
    with contextlib.suppress(BrokenPipeError):
        emit(f"{styled} " + plain(message).strip().replace("\n", f"\n{' ' * (len(prefix) + 1)}"), to_error=True)


@contextlib.contextmanager
def told_warnings() -> Iterator[None]:
    """Show what dapoctl's own code warns of as `warning: ...`, once each."""
    told: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, RunWarning):
            others(message, category, filename, lineno, file, line)
        elif str(message) not in told:
            told.add(str(message))
            warn(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", RunWarning)
        others, warnings.showwarning = warnings.showwarning, show
        yield


def command(verb: str, run: str, runs_dir: Path | None) -> str:
    """The `dapoctl runs` command line for a run."""
    option = f" --runs-dir {shlex.quote(str(runs_dir))}" if runs_dir is not None else ""
    return f"dapoctl runs {verb} {shlex.quote(run)}{option}"


def hush(stream: TextIO | None = None) -> None:
    """Discard further output to a stream that is closed, by default stdout, so that Python's final flush raises nothing."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


def forgive_encodings() -> None:
    """Write `?` for characters that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def command_group(purpose: str) -> typer.Typer:
    """A group of commands that shows its help, and ends with 0, where no command is named."""
    group = typer.Typer(help=purpose, invoke_without_command=True)

    @group.callback()
    def _alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            show_help(context)

    return group


def show_help(context: typer.Context) -> None:
    """Print the command's help; Typer prints it itself when it formats with rich."""
    text = context.get_help()
    if text.strip():
        emit(text)
