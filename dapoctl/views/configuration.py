"""A run's configuration as lines to read: what is not as usual is marked, and so is what a baseline has otherwise."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.config.load import Layers
from dapoctl.config.resolve import resolve
from dapoctl.config.toml_literals import literal
from dapoctl.runs.difference import dotted
from dapoctl.runs.summary import read_record

ABOUT = ("name", "plugins", "recipe", "task", "engine", "model.path")
"""Keys that say which run it is; the defaults are those of a run that is the same in these"""
ABSENT = object()


@dataclass(frozen=True)
class Line:
    """A line of the page."""

    text: str
    note: str = ""
    """What is said after it: other values"""
    kind: str = "value"
    """heading, value, changed (not as by default), unlike (not as in the baseline) or plain"""


def read_configuration(directory: Path, baseline: Path | None) -> list[Line]:
    """The lines of a run's page; of one that cannot be read, why."""
    record = read_record(directory)
    if record.problem:
        return [Line(record.problem, kind="plain")]
    spec = record.spec
    config = _table(spec, "config")
    defaults, trouble = usual(config)
    other = _table(read_record(baseline).spec, "config") if baseline is not None else None
    lines = [Line(f"! {trouble}: what differs from it is not marked", kind="plain")] if trouble else []
    lines += config_lines(config, defaults, other)
    return [*lines, *_components(_table(spec, "pipeline")), *_made(spec)]


def usual(config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """(what the same components and model have by default, why that cannot be told)."""
    layers = Layers()
    own = dotted(dict(config))
    try:
        kept: dict[str, Any] = {key: config[key] for key in ABOUT if key in config}
        if "model.path" in own:
            kept["model"] = {"path": own["model.path"]}
        layers.add(kept, "the run")
        return dotted(resolve(layers, recorded=True).as_dict()), ""
    except Exception as error:  # noqa: BLE001 (a component's own code may raise anything)
        return None, f"the defaults cannot be told ({' '.join(str(error).split())})"


def config_lines(
    config: Mapping[str, Any], defaults: Mapping[str, Any] | None, other: Mapping[str, Any] | None
) -> list[Line]:
    """The configuration in the form of a TOML file, with the values of the defaults and of the baseline beside it."""
    theirs = None if other is None else dotted(dict(other))
    lines = [Line("configuration", kind="heading")]
    tables = [(str(name), value) for name, value in config.items() if isinstance(value, dict)]
    top = {name: value for name, value in config.items() if not isinstance(value, dict)}
    for table, values in [("", top), *tables]:
        if table and values:
            lines.append(Line(f"[{table}]", kind="plain"))
        prefix = f"{table}." if table else ""
        for name, value in dotted(values).items() if values else ():
            lines.append(_value(name, value, f"{prefix}{name}", defaults, theirs))
    if theirs is not None:
        missing = [key for key in theirs if key not in dotted(dict(config))]
        lines += [Line(f"{key} = -", f"baseline {literal(theirs[key])}", "unlike") for key in missing]
    return lines


def _value(
    name: str, value: Any, key: str, defaults: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None
) -> Line:
    notes, kind = [], "value"
    usually = ABSENT if defaults is None else defaults.get(key, ABSENT)
    if key not in ABOUT and usually is not ABSENT and usually != value:
        notes.append(f"default {literal(usually)}")
        kind = "changed"
    if theirs is not None and theirs.get(key, ABSENT) != value and key != "name":
        there = theirs.get(key, ABSENT)
        notes.append(f"baseline {'-' if there is ABSENT else literal(there)}")
        kind = "unlike"
    return Line(f"{name} = {literal(value)}", ", ".join(notes), kind)


def _components(pipeline: Mapping[str, Any]) -> list[Line]:
    lines = [Line("components", kind="heading")]
    for name, origin in pipeline.items():
        found = origin if isinstance(origin, dict) else {}
        package = f"{found.get('distribution', '')} {found.get('version', '')}".strip()
        digest = str(found.get("sha256") or "")[:12]
        place = str(found.get("entry_point", ""))
        lines.append(
            Line(f"{name:<18} {package:<16} {place}{f'  sha256 {digest}' if digest else ''}".rstrip(), kind="plain")
        )
    return lines


def _made(spec: Mapping[str, Any]) -> list[Line]:
    """Where it comes from: command line, commit, machine, libraries."""
    argv, git, host = spec.get("argv"), _table(spec, "git"), _table(spec, "host")
    lines = [Line("made with", kind="heading")]
    if isinstance(argv, list):
        lines.append(Line(shlex.join(str(word) for word in argv), kind="plain"))
    diff = str(git.get("diff") or "")
    if git.get("commit"):
        changed = (
            f", {len(diff.splitlines())} lines of uncommitted changes (below)"
            if diff
            else ""
            if git.get("diff_note")
            else ", nothing uncommitted"
        )
        lines.append(Line(f"commit {git['commit']}{changed}", kind="plain"))
    lines.append(Line(f"host {', '.join(f'{name} {value}' for name, value in host.items())}", kind="plain"))
    versions = {"python": spec.get("python", ""), **_table(spec, "versions")}
    lines.append(Line(", ".join(f"{name} {value}" for name, value in versions.items()), kind="plain"))
    if note := git.get("diff_note"):
        lines.append(Line(f"uncommitted changes: {note}", kind="plain"))
    if diff:
        lines += [
            Line("uncommitted changes", kind="heading"),
            *(Line(text, kind="plain") for text in diff.splitlines()),
        ]
    return lines


def _table(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}
