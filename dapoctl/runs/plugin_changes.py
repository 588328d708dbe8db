"""Plugin files that change between a run's attempts: never unnoticed, and in the run's records when they are meant to.

`spec.json` says what the run began with and is never rewritten. `plugins.json` says to what later contents of its plugin
files the user agreed (`dapoctl runs resume RUN --changed-plugins`), each with the step from which it was in force.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dapoctl.errors import PluginError
from dapoctl.runs.files import SCHEMA, read_json, write_json
from dapoctl.runs.summary import RunSummary

PLUGINS = "plugins.json"


def agreed(directory: Path) -> list[dict[str, Any]]:
    """The changes that the user agreed to, first to last: component, file, from and to (sha256), step, time."""
    found = read_json(directory / PLUGINS)
    changes = found.get("changes") if isinstance(found, dict) else None
    return [dict(change) for change in changes if isinstance(change, dict)] if isinstance(changes, list) else []


def changed_files(summary: RunSummary) -> dict[str, tuple[Path, str, str]]:
    """By component: its file, and the sha256 of what was last agreed to and of what is there now; "" without a file."""
    expected = _expected(summary)
    found = {}
    for name, (path, sha256) in expected.items():
        now = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        if now != sha256:
            found[name] = (path, sha256, now)
    return found


def agree(summary: RunSummary, step: int) -> list[str]:
    """Note that the run goes on with its plugin files as they are now, from `step` on; names of what has changed.

    Raises:
        PluginError: a file is gone, or is broken.
        StorageError: the run's folder cannot be written.
    """
    from dapoctl.components.catalog import file_entry
    from dapoctl.components.resolver import hooks_of

    changed = changed_files(summary)
    for name, (path, _, now) in changed.items():
        if not now:
            raise PluginError(f"plugin file of `{name}`, `{path}`, is gone; put it back")
        entry = file_entry(str(summary.spec["pipeline"][name]["entry_point"]))
        hooks_of(entry, entry.load())
    changes = agreed(summary.directory)
    changes += [
        {"component": name, "file": str(path), "from": old, "to": new, "step": step, "time": time.time()}
        for name, (path, old, new) in changed.items()
    ]
    if changed:
        write_json(summary.directory / PLUGINS, {"schema": SCHEMA, "changes": changes})
    return sorted(changed)


def refuse_changed(summary: RunSummary) -> None:
    """Refuse to go on with plugin files that have changed.

    Raises:
        PluginError: naming the file and both ways on.
    """
    for name, (path, _, now) in changed_files(summary).items():
        if not now:
            raise PluginError(f"plugin file of `{name}`, `{path}`, is gone; put it back, or start a new run")
        raise PluginError(
            f"plugin file of `{name}` ({path}) has changed since run `{summary.id}` began;"
            f" `dapoctl runs resume {summary.id} --changed-plugins` goes on with it as it is now and notes that in the"
            " run; or put the old version back, or start a new run"
        )


def refuse_different(summary: RunSummary, now: Mapping[str, Mapping[str, str]], observers: Collection[str]) -> None:
    """Refuse to go on with other components than the run's record has.

    Args:
        now: as `Entry.describe` has them, the components that the run's configuration stands for
        observers: those of them that only observe, which may come and go

    Raises:
        PluginError: naming what differs and how to go on.
    """
    began = {str(name): dict(origin) for name, origin in dict(summary.spec.get("pipeline", {})).items()}
    if not began:
        return
    differences = [
        f"`{name}` ({origin.get('entry_point', '?')}) is missing" for name, origin in began.items() if name not in now
    ]
    differences += [
        f"`{name}` ({origin['entry_point']}) is there besides"
        for name, origin in now.items()
        if name not in began and name not in observers
    ]
    for name in began.keys() & now.keys():
        old, new = _provider(began[name]), _provider(now[name])
        if began[name] and old != new:
            differences.append(f"`{name}` was {old} and is {new}")
    if differences:
        raise PluginError(
            f"run `{summary.id}` would go on with other components than it began with: {'; '.join(sorted(differences))}."
            " Install or put back what it began with; or start a new run with its last weights,"
            f" `--set model.path={summary.directory}/checkpoints/step_N/model`"
        )


def _provider(origin: Mapping[str, str]) -> str:
    """Who provides a component: a class of a file, or a distribution, whose version and modules may change."""
    return str(origin.get("entry_point", "")) if origin.get("sha256") else str(origin.get("distribution", ""))


def since_the_beginning(summary: RunSummary, now: Mapping[str, Mapping[str, str]]) -> list[dict[str, str]]:
    """How the components `now` (as `Entry.describe` has them) differ from those that the run began with: files that
    the user agreed to, and packages of another version."""
    began = summary.spec.get("pipeline", {})
    found = []
    for name, origin in now.items():
        old = began.get(name, {})
        for key in ("sha256", "version"):
            if old.get(key) != origin.get(key):
                found.append({"component": name, "what": key, "from": old.get(key, ""), "to": origin.get(key, "")})
    return found


def _expected(summary: RunSummary) -> dict[str, tuple[Path, str]]:
    """By component that comes from a file: the file, and the sha256 that it should have."""
    expected = {}
    for name, origin in dict(summary.spec.get("pipeline", {})).items():
        if origin.get("sha256"):
            expected[name] = (Path(str(origin["entry_point"]).rpartition(":")[0]), str(origin["sha256"]))
    for change in agreed(summary.directory):
        if change.get("component") in expected:
            expected[change["component"]] = (expected[change["component"]][0], str(change.get("to", "")))
    return expected
