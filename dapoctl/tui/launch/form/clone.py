"""A choice filled in as a run was, and how the two differ since."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dapoctl.components.catalog import Catalog
from dapoctl.components.none import NONE
from dapoctl.config.resolve import Resolved
from dapoctl.runs.difference import Difference, difference, dotted
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.launch.form.choice import USUAL_RECIPE, Choice, find
from dapoctl.tui.launch.form.fields import MISSING
from dapoctl.tui.launch.form.verdict import examine

LONGEST = 64
"""Characters of a run's name"""


@dataclass(frozen=True)
class Clone:
    """What the form begins with."""

    choice: Choice
    parent: RunSummary | None = None
    left_out: tuple[str, ...] = ()
    """`key = value` of what nothing takes any more"""


def begin(
    parent: RunSummary | None,
    changes: Mapping[str, Any],
    names: Collection[str] = (),
    catalog: Catalog | None = None,
) -> Clone:
    """A choice as in `parent`, with `changes` (dotted key -> value) on top.

    Args:
        names: those of the runs that there are; the clone is called differently
    """
    config = copy.deepcopy(parent.config) if parent else {}
    if parent is not None and parent.steps == 0:
        # It evaluated a model; nothing else of its configuration meant anything.
        config = {"model": config["model"]} if "model" in config else {}
    recipe, plugins = str(config.pop("recipe", USUAL_RECIPE)), list(config.pop("plugins", []))
    choice = Choice(str(changes.get("recipe", recipe)), [str(name) for name in changes.get("plugins", plugins)], config)
    if parent is not None and "name" not in changes:
        config["name"] = next_name(str(config.get("name") or parent.name or parent.id), names)
    verdict = examine(choice, catalog)
    fields = {of.path: of for sheet in verdict.sheets for of in sheet.fields}
    said = {tuple(key.split(".")): value for key, value in changes.items() if key not in ("recipe", "plugins")}
    choice.values = {}
    for of in fields.values():
        value = said.pop(of.path, find(config, of.path, MISSING))
        if value is not MISSING:
            choice.put(of, None if value == NONE and of.optional else value)
    unknown = {".".join(path): value for path, value in said.items()}
    unknown |= {key: value for key, value in dotted(config).items() if key and not _is_known(key, [*fields])}
    return Clone(choice, parent, tuple(f"{key} = {value!r}" for key, value in unknown.items()))


def _is_known(key: str, paths: Collection[tuple[str, ...]]) -> bool:
    """Whether a leaf of a configuration belongs to a field; some fields are tables."""
    parts = tuple(key.split("."))
    return any(parts[: len(path)] == path for path in paths)


def next_name(name: str, taken: Collection[str]) -> str:
    """`name-2`, or the next number that no run has."""
    stem = re.sub(r"-\d+$", "", name)
    found = re.fullmatch(r".*-(\d+)", name)
    number = int(found.group(1)) if found else 1
    while True:
        number += 1
        proposed = f"{stem[: LONGEST - len(str(number)) - 1]}-{number}"
        if proposed not in taken:
            return proposed


def since(parent: RunSummary, resolved: Resolved) -> Difference:
    """How the run that is described differs from the one that it was cloned from."""
    pipeline = {name: item.entry.describe() for name, item in resolved.chosen.items()}
    now = replace(
        parent,
        components=tuple(resolved.chosen),
        spec={**parent.spec, "config": resolved.as_dict(), "pipeline": pipeline},
        config_text="",
    )
    return difference(parent, now)
