"""Files that a screen writes for the user: into the current folder, under a name that is told, never over another file."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from dapoctl.errors import StorageError

FORMATS = {"md": "Markdown, for a note", "csv": "comma-separated values", "json": "JSON, all of it"}
"""What each ending stands for"""


def write_new(stem: str, ending: str, text: str, folder: Path | None = None) -> Path:
    """Write `text` to `stem.ending`, or to `stem-2.ending` and so on where that is taken; the path.

    Raises:
        StorageError: the folder cannot be written.
    """
    folder = folder or Path.cwd()
    safe = re.sub(r"[^\w.-]+", "-", stem, flags=re.ASCII).strip(".-") or "export"
    for turn in itertools.count(1):
        path = folder / f"{safe}{f'-{turn}' if turn > 1 else ''}.{ending}"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text if text.endswith("\n") else f"{text}\n")
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(f"`{path}` cannot be written: {error.strerror or error}") from error
        return path
    raise AssertionError
