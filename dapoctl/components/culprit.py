"""Where in a plugin author's own code something went wrong."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

OURS = Path(__file__).resolve().parent.parent


def describe_error(error: BaseException, *owners: type | str) -> str:
    """`ValueError: odd size (my_idea.py:12)`: what was raised, and the last line of the owners' code in its traceback.

    Args:
        owners: component classes, or names of modules; a module stands for its package
    """
    message = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {message}' if message else ''}{error_location(error, *owners)}"


def error_location(error: BaseException, *owners: type | str) -> str:
    """` (my_idea.py:12)` for the last line of the owners' code in the traceback, or an empty string."""
    homes = {home for owner in owners for home in _homes(owner)}
    location = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if any(home == path or home in path.parents for home in homes):
            location = f" ({short_path(path)}:{frame.lineno})"
    return location


def definition_location(member: Any) -> str:
    """` (my_idea.py:12)` for where a method is defined, or an empty string."""
    code = getattr(getattr(member, "__func__", member), "__code__", None)
    return f" ({short_path(Path(code.co_filename))}:{code.co_firstlineno})" if code else ""


def short_path(path: Path) -> str:
    """`path`, relative to the current folder if it is inside, in the form that editors open."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _homes(owner: type | str) -> set[Path]:
    """The package folder, or the file, with the owner's code; for a class also those of its bases."""
    if isinstance(owner, str):
        return _home(owner)
    homes = {home for base in owner.__mro__[:-1] for home in _home(base.__module__)}
    return {home for home in homes if home.name != "pydantic" and home != OURS}


def _home(module: str) -> set[Path]:
    for name in (module.partition(".")[0], module):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file:
            path = Path(file)
            return {path.parent if path.name == "__init__.py" else path}
    return set()
