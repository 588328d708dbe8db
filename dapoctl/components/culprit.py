"""Where in a plugin author's own code something went wrong."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

OURS = Path(__file__).resolve().parent.parent


def told(error: BaseException, *owners: type | str) -> str:
    """`ValueError: odd size (my_idea.py:12)`: what was raised, and the last line of the owners' own code on its way.

    Args:
        owners: component classes, or names of modules; a module stands for the package that it is in
    """
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {said}' if said else ''}{place(error, *owners)}"


def place(error: BaseException, *owners: type | str) -> str:
    """` (my_idea.py:12)` for the last line of the owners' own code that `error` came through, or an empty string."""
    homes = {home for owner in owners for home in _homes(owner)}
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if any(home == path or home in path.parents for home in homes):
            found = f" ({shown(path)}:{frame.lineno})"
    return found


def defined(member: Any) -> str:
    """` (my_idea.py:12)` for where a method is written, or an empty string."""
    code = getattr(getattr(member, "__func__", member), "__code__", None)
    return f" ({shown(Path(code.co_filename))}:{code.co_firstlineno})" if code else ""


def shown(path: Path) -> str:
    """`path` as it is shortest from here, in the form that editors open."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _homes(owner: type | str) -> set[Path]:
    """The folder of the package, or the file, that the owner's code is in; for a class those of its bases, too."""
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
