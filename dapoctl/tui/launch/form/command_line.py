"""The command line that describes the same run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dapoctl.config.toml_literals import override
from dapoctl.tui.launch.form.choice import USUAL_RECIPE, Choice
from dapoctl.tui.launch.form.fields import Sheet

OPTIONS: dict[tuple[str, ...], str] = {("name",): "--name", ("seed",): "--seed"}
WAYS = ("--detach", "--queue", "")
"""How a run is started: in the background now, in the background when its turn has come, in the terminal"""


def arguments(choice: Choice, sheets: Sequence[Sheet], root: Path | None = None, way: str = "") -> list[str]:
    """`dapoctl run ...` in words, with no more than it takes.

    Args:
        sheets: of the run and its components
        root: the run store, if the command would not find it by itself
        way: one of WAYS
    """
    usual: dict[str, Any] = choice.usual.get(choice.model, {})
    words = ["dapoctl", "run"]
    if choice.recipe != usual.get("recipe", USUAL_RECIPE):
        words += ["--recipe", choice.recipe]
    if choice.plugins != usual.get("plugins", []):
        words += _plugins(choice.plugins)
    for path, value in choice.settings(sheets).items():
        option = OPTIONS.get(path)
        words += [option, str(value)] if option and value is not None else ["--set", override(".".join(path), value)]
    if root is not None:
        words += ["--runs-dir", str(root)]
    return [*words, way] if way else words


def _plugins(names: list[str]) -> list[str]:
    simple = all("," not in name and name == name.strip() and name.isprintable() for name in names)
    return ["--plugins", ",".join(names)] if names and simple else ["--set", override("plugins", names)]


def spelled(words: Sequence[str]) -> str:
    """For a shell."""
    return shlex.join(words)
