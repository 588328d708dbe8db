"""The run store: a folder per run, which is all there is to know about it. Where it is, and which run a word names.

`summary` and `index` read it, `record` writes it.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from dapoctl.errors import UserError, nearest
from dapoctl.runs.index import run_directories
from dapoctl.runs.summary import SPEC

SHORTEST = 4
"""Characters of an id that name a run"""


def runs_root(option: Path | None = None) -> Path:
    """Where runs are: `--runs-dir`, else the environment's DAPOCTL_RUNS, else ./runs."""
    return option or Path(os.environ.get("DAPOCTL_RUNS") or "runs")


def new_run_id(name: str) -> str:
    """`<time>-<name>-<4 random>`; sorts by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{secrets.token_hex(2)}"


def find_run(root: Path, text: str) -> Path:
    """The folder of the run that `text` names: an id, its unique beginning or end, a run's name, a path, or `last`.

    A beginning or an end has `SHORTEST` characters or more: a slip of the finger names no run.

    Raises:
        UserError: none or several runs fit, or `text` is empty.
    """
    if not text.strip():
        raise UserError(f"a run's name is empty ({text!r}): give an id, four characters or more of it, or `last`")
    if (Path(text) / SPEC).is_file():
        return Path(text)
    folders = run_directories(root)
    if text == "last" and (runs := [path for path in folders if (path / SPEC).is_file()]):
        return runs[-1]
    fits = [path for path in folders if path.name == text]
    parts = [path for path in folders if path.name.startswith(text) or path.name.endswith(text)]
    fits = fits or [path for path in folders if _name(path) == text or (path in parts and len(text) >= SHORTEST)]
    if not fits and parts:
        some = ", ".join(path.name for path in parts[-3:])
        raise UserError(
            f"`{text}` is too short for a run: give {SHORTEST} characters or more of its id, such as of {some}"
        )
    if not fits:
        names = [path.name for path in folders]
        there = f" The newest is `{names[-1]}`." if names else " The store is empty."
        raise UserError(f"no run `{text}` in `{root}`.{nearest(text, names)}{there}")
    if len(fits) > 1:
        raise UserError(f"`{text}` fits {len(fits)} runs: {', '.join(path.name for path in fits[-5:])}; name one")
    return fits[0]


def _name(path: Path) -> str:
    return "-".join(path.name.split("-")[2:-1])
