"""How two runs' configurations differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dapoctl.runs.plugin_changes import agreed
from dapoctl.runs.summary import RunSummary

ABSENT = "-"
APART = ("name", "plugins", "recipe")
"""Said by the components themselves, or about nothing that is trained"""


@dataclass(frozen=True)
class Difference:
    """What two runs do not share."""

    only_first: tuple[str, ...]
    """Components"""
    only_second: tuple[str, ...]
    keys: dict[str, tuple[Any, Any]]
    """By dotted key, the value of the first and of the second; keys of components that only one has are left out"""
    versions: dict[str, tuple[Any, Any]]
    """The same of libraries, of the commit, and of files of components"""

    @property
    def nothing(self) -> bool:
        """Whether they are the same."""
        return not (self.only_first or self.only_second or self.keys or self.versions)


def difference(first: RunSummary, second: RunSummary) -> Difference:
    """How `second` differs from `first`."""
    ours, theirs = set(first.components), set(second.components)
    apart = {*APART, *(ours ^ theirs)}
    flat = [
        {key: value for key, value in dotted(run.config).items() if key.partition(".")[0] not in apart}
        for run in (first, second)
    ]
    return Difference(
        tuple(sorted(ours - theirs)),
        tuple(sorted(theirs - ours)),
        _unlike(*flat),
        _unlike(_made_of(first), _made_of(second)),
    )


def dotted(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, by dotted keys."""
    if not isinstance(values, dict):
        return {prefix.removesuffix("."): values}
    return {key: value for name, inner in values.items() for key, value in dotted(inner, f"{prefix}{name}.").items()}


def _unlike(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        key: (first.get(key, ABSENT), second.get(key, ABSENT))
        for key in sorted(first.keys() | second.keys())
        if first.get(key, ABSENT) != second.get(key, ABSENT)
    }


def _made_of(run: RunSummary) -> dict[str, Any]:
    spec = run.spec
    git = spec.get("git") or {}
    found = {str(name): version for name, version in dict(spec.get("versions") or {}).items()}
    changed = bool(git.get("diff") or git.get("diff_note"))
    found |= {"commit": git.get("commit", ABSENT), "uncommitted changes": "yes" if changed else "no"}
    files = {name: origin.get("sha256") for name, origin in dict(spec.get("pipeline") or {}).items()}
    found |= {f"file of {name}": digest[:12] for name, digest in files.items() if digest}
    for change in agreed(run.directory):
        key = f"file of {change.get('component')}"
        found[key] = f"{found.get(key, ABSENT)}, after step {change.get('step')} {str(change.get('to'))[:12]}"
    return found
