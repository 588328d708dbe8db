"""How commands speak: results on stdout, everything else on stderr, text from elsewhere without its control characters."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import typer

from dapoctl.views.terminal import colours
from dapoctl.views.text import finite, plain


def emit(text: str, to_error: bool = False) -> None:
    """Write `text` and a line end to stdout. A reader who has gone away ends the command quietly."""
    stream = sys.stderr if to_error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        hush()
        raise typer.Exit(0) from None


def emit_json(value: Any, compact: bool = False) -> None:
    """Write `value` as JSON to stdout, on one line if `compact`; non-finite numbers become "NaN", "Infinity", "-Infinity"."""
    emit(json.dumps(finite(value), indent=None if compact else 2, ensure_ascii=False, default=str, allow_nan=False))


def error(message: str) -> None:
    """`error: message` on stderr."""
    _say("error:", typer.colors.RED, message)


def warn(message: str) -> None:
    """`warning: message` on stderr."""
    _say("warning:", typer.colors.YELLOW, message)


def _say(word: str, colour: str, message: str) -> None:
    styled = typer.style(word, fg=colour, bold=True) if colours(sys.stderr) else word
    with contextlib.suppress(BrokenPipeError):
        emit(f"{styled} " + plain(message).strip().replace("\n", f"\n{' ' * (len(word) + 1)}"), to_error=True)


def command(verb: str, run: str, runs_dir: Path | None) -> str:
    """The `dapoctl runs` command line for a run."""
    place = f" --runs-dir {shlex.quote(str(runs_dir))}" if runs_dir is not None else ""
    return f"dapoctl runs {verb} {shlex.quote(run)}{place}"


def hush() -> None:
    """Let nothing more be written to a stdout that nobody reads, so that Python's last flush stays quiet."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def forgive_encodings() -> None:
    """Write `?` for what the terminal's encoding lacks, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def show_help(context: typer.Context) -> None:
    """Print the command's help; Typer prints it itself when it formats with rich."""
    text = context.get_help()
    if text.strip():
        emit(text)
