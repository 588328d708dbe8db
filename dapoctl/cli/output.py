"""How commands speak: results on stdout, everything else on stderr, text from elsewhere without its control characters."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

WIDE = 200
"""Columns of output that nobody looks at in a terminal: lines stay whole for grep."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """`text` with control characters spelled out, so that a name or a model's words cannot steer the terminal."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def one_line(text: str) -> str:
    """`plain` text on one line."""
    return plain(" ".join(text.split()))


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


def finite(value: Any) -> Any:
    """`value` with its non-finite floats as strings: JSON has no word for them, and they must not be lost."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


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


def colours(stream: Any) -> bool:
    """Whether `stream` is a terminal whose user wants colours."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns to lay text out for."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else WIDE


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
