"""Every binding that there is: for the keymap file, the help page and the tests."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from dapoctl import tui
from dapoctl.tui.screen import WorkbenchScreen

GENERAL = ("app.", "go.", "list.")
"""What begins the ids of keys that work on every screen"""


def all_bindings() -> dict[str, Binding]:
    """Every binding of this package by its id."""
    found: dict[str, Binding] = {}
    for module in _modules():
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, DOMNode) and cls.__module__.startswith(tui.__name__):
                found |= {
                    each.id: each for each in vars(cls).get("BINDINGS", ()) if isinstance(each, Binding) and each.id
                }
    return found


def binding_ids() -> list[str]:
    """The ids, sorted."""
    return sorted(all_bindings())


def _modules() -> list[Any]:
    names = [name for _, name, _ in pkgutil.walk_packages(tui.__path__, f"{tui.__name__}.")]
    return [import_module(name) for name in names]


def help_page(screen: Screen[Any]) -> str:
    """What the screen is for and what each key does there, with the ids for the keymap file."""
    lines = [screen.QUESTION, ""] if isinstance(screen, WorkbenchScreen) and screen.QUESTION else []
    rows = [
        (screen.app.get_key_display(active.binding), active.binding.description, active.binding.id or "")
        for active in screen.active_bindings.values()
        if active.binding.description and active.binding.id
    ]
    rows.sort(key=lambda row: row[2].startswith(GENERAL))
    merged: dict[tuple[str, str], list[str]] = {}
    for shown, description, name in rows:
        merged.setdefault((description, name), []).append(shown)
    for (description, name), keys in merged.items():
        lines.append(f"{' '.join(dict.fromkeys(keys)):<14} {description:<28} {name}")
    return "\n".join([*lines, "", "The right column names a key in the keymap file (`dapoctl tui --keys FILE`):",
                      '"runs.compare" = "c"'])  # fmt: skip
