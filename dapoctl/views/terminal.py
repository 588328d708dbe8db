"""What the terminal can show: colours and width."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

WIDE = 200

"""Columns of output that nobody looks at in a terminal: lines stay whole for grep."""


def colours(stream: Any) -> bool:
    """Whether `stream` is a terminal whose user wants colours."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns to lay text out for."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else WIDE
