"""What was chosen: a recipe, the words of `--plugins`, and every value that somebody set."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dapoctl.config.schema import RunConfig
from dapoctl.tui.launch.form.fields import MISSING, Field, Sheet
from dapoctl.tui.launch.form.texts import same

USUAL_RECIPE = str(RunConfig.model_fields["recipe"].default)
MODEL = ("model", "path")


@dataclass
class Choice:
    """One run, as far as it is described. Components that are not in the run keep their values, which then say nothing."""

    recipe: str = USUAL_RECIPE
    plugins: list[str] = field(default_factory=list)
    """Words of `--plugins`: names, files, recipes, `-name`"""
    values: dict[str, Any] = field(default_factory=dict)
    """What was set, nested as in a file, without these two"""
    usual: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Run defaults that models bring, by the model's path, as far as they were read"""

    def copy(self) -> Choice:
        """The same, for another thread."""
        return copy.deepcopy(self)

    @property
    def said(self) -> tuple[str, list[str], dict[str, Any]]:
        """All that was chosen."""
        return self.recipe, self.plugins, self.values

    @property
    def model(self) -> str:
        """The model's path."""
        return str(find(self.values, MODEL, RunConfig.model_fields["model"].default.path))

    @property
    def _usual(self) -> dict[str, Any]:
        return self.usual.get(self.model, {})

    def default(self, of: Field) -> Any:
        """What a field is when nobody sets it: the model's default before the class's."""
        return find(self._usual, of.path, of.default)

    def value(self, of: Field) -> Any:
        """What a field is."""
        return find(self.values, of.path, self.default(of))

    def is_changed(self, of: Field) -> bool:
        """Whether it is set to something else than its default."""
        found = find(self.values, of.path, MISSING)
        return found is not MISSING and not same(found, self.default(of))

    def put(self, of: Field, value: Any) -> None:
        """Set a field; MISSING or its default sets it back."""
        if of.kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if value is MISSING or same(value, self.default(of)):
            _drop(self.values, of.path)
        else:
            _place(self.values, of.path, value)

    def refusal(self, of: Field, value: Any, sheet: Sheet) -> str:
        """Why `value` cannot be a field's, in the validator's words; empty when it can."""
        if value is MISSING:
            return ""
        tried = self.copy()
        tried.put(of, value)
        return sheet.refusal(of, tried.told([sheet]))

    def settings(self, sheets: Iterable[Sheet]) -> dict[tuple[str, ...], Any]:
        """By path, everything that has to be said: what differs from what it would be."""
        found: dict[tuple[str, ...], Any] = {}
        for sheet in sheets:
            changed = [of for of in sheet.fields if self.is_changed(of)]
            touched = {of.path[:length] for of in changed for length in range(1, len(of.path))}
            for of in sheet.fields:
                beside = any(of.path[:length] in touched for length in range(1, len(of.path)))
                if of in changed or (beside and not same(self.value(of), of.bare) and not self._is_usual(of)):
                    found[of.path] = self.value(of)
        return found

    def _is_usual(self, of: Field) -> bool:
        return find(self._usual, of.path, MISSING) is not MISSING

    def told(self, sheets: Iterable[Sheet]) -> dict[str, Any]:
        """`settings` in the form of a file, on top of the model's defaults."""
        return nested(self.settings(sheets), self._usual)

    # Components.

    def toggle(self, word: str, name: str, in_base: bool, rivals: Sequence[str] = ()) -> None:
        """Check or uncheck a component.

        Args:
            word: as `--plugins` takes it
            name: in the run
            in_base: it is part of the recipe, or of every run
            rivals: words of `plugins` that took its place
        """
        if word in self.plugins or f"-{name}" in self.plugins:
            self.plugins = [each for each in self.plugins if each not in (word, f"-{name}")]
        elif rivals and in_base:
            self.plugins = [each for each in self.plugins if each not in rivals]
        else:
            self.plugins.append(f"-{name}" if in_base else word)


def find(values: Mapping[str, Any], path: Sequence[str], default: Any) -> Any:
    """The value at `path` of nested tables."""
    found: Any = values
    for part in path:
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def nested(values: Mapping[tuple[str, ...], Any], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Values by path in the form of a file, on top of `base`."""
    found = copy.deepcopy(dict(base or {}))
    for path, value in values.items():
        _place(found, path, value)
    return found


def _place(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = values.get(part)
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[path[-1]] = value


def _drop(values: dict[str, Any], path: Sequence[str]) -> None:
    if len(path) == 1:
        values.pop(path[0], None)
    elif isinstance(values.get(path[0]), dict):
        _drop(values[path[0]], path[1:])
        if not values[path[0]]:
            del values[path[0]]
