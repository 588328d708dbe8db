"""Where components are found: the entry-point group `dapoctl.plugins`, recipes, and files that the user names.

Nothing is imported before it is selected, so a broken package cannot affect a run that does not use it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dapoctl.components.culprit import describe_error
from dapoctl.components.importing import BROKEN, import_file, import_package
from dapoctl.components.recipe import Recipe
from dapoctl.errors import PluginError, nearest

if TYPE_CHECKING:
    from dapoctl.components.base import Component

COMPONENTS = "dapoctl.plugins"
RECIPES = "dapoctl.recipes"


@dataclass(frozen=True, slots=True)
class Entry:
    """One provider of a component: an entry point of a distribution, or a file of the user's own."""

    name: str
    value: str
    """`module:attribute`, or `path:Class` for a file"""
    distribution: str = ""
    version: str = ""
    sha256: str = ""
    """Of the file, for a component that comes from one"""

    def load(self) -> type[Component]:
        """Import the component's class.

        Raises:
            PluginError: the module cannot be imported, or what the entry point names is not a Component class.
        """
        from dapoctl.components.base import Component

        module_name, _, attribute = self.value.rpartition(":")
        if not module_name:
            raise PluginError(
                f"{self.where} does not name a class; the form of an entry point is `package.module:Class`"
            )
        module = import_file(Path(module_name)) if self.sha256 else import_package(module_name, self.where)
        try:
            cls = getattr(module, attribute, None)
        except BROKEN as error:
            raise PluginError(f"{self.where} cannot be loaded: {describe_error(error, module_name)}") from error
        if cls is None:
            raise PluginError(
                f"{self.where} cannot be found: its module has no `{attribute}`.{nearest(attribute, [*vars(module)])}"
                " Fix the entry point in its `pyproject.toml`, or reinstall the package"
            )
        if not (inspect.isclass(cls) and issubclass(cls, Component)):
            raise PluginError(f"{self.where} is not a subclass of dapoctl.Component; derive its class from that")
        return cls

    @property
    def where(self) -> str:
        """The component and where it comes from, for messages."""
        origin = f", from {self.distribution} {self.version}".rstrip() if self.distribution else ""
        return f"component `{self.name}` ({self.value}{origin})"

    def describe(self) -> dict[str, str]:
        """What a run's record says about where the component came from."""
        origin = {"distribution": self.distribution, "version": self.version, "sha256": self.sha256}
        return {"entry_point": self.value} | {key: value for key, value in origin.items() if value}


class Catalog:
    """The installed components and recipes."""

    def __init__(self, components: list[Entry], recipes: list[metadata.EntryPoint]) -> None:
        self._entries: dict[str, list[Entry]] = {}
        for entry in components:
            self._entries.setdefault(entry.name, []).append(entry)
        self._recipes: dict[str, list[metadata.EntryPoint]] = {}
        for point in recipes:
            self._recipes.setdefault(point.name, []).append(point)

    def names(self) -> list[str]:
        """Names of all components, sorted."""
        return sorted(self._entries)

    def recipes(self) -> list[str]:
        """Names of all recipes, sorted."""
        return sorted(self._recipes)

    def recipe_entries(self) -> list[Entry]:
        """Where each recipe comes from, sorted by name."""
        return [_entry(point) for name in self.recipes() for point in self._recipes[name]]

    def entries(self) -> list[Entry]:
        """Every provider, sorted by name; a name may occur twice."""
        return [entry for name in self.names() for entry in self._entries[name]]

    def find(self, name: str) -> Entry:
        """The provider of `name`, a component's name or `path.py[:Class]`.

        Raises:
            PluginError: no such component, or two distributions provide it.
        """
        if name not in self._entries and ".py" in name:
            return file_entry(name)
        if name not in self._entries:
            known = [*self.names(), *self.recipes()]
            raise PluginError(
                f"unknown component `{name}`.{nearest(name, known)} Installed: {', '.join(self.names())}."
                " A package that declares new entry points must be installed again to be seen (`pip install -e .`);"
                " a file is named by its path (`./my_idea.py:MyIdea`)."
            )
        providers = self._entries[name]
        _check_single("component", providers)
        return providers[0]

    def recipe(self, name: str) -> Recipe:
        """The recipe called `name`.

        Raises:
            PluginError: no such recipe, two distributions provide it, or it cannot be imported.
        """
        if name not in self._recipes:
            raise PluginError(
                f"unknown recipe `{name}`.{nearest(name, self.recipes())} Installed: {', '.join(self.recipes())}."
            )
        point = self._recipes[name][0]
        _check_single("recipe", [_entry(other) for other in self._recipes[name]])
        module, _, attribute = _entry(point).value.rpartition(":")
        recipe = getattr(import_package(module or "?", f"recipe `{name}` ({point.value})"), attribute, None)
        if not isinstance(recipe, Recipe):
            raise PluginError(f"recipe `{name}` ({point.value}) is not a dapoctl.Recipe")
        return recipe


@functools.cache
def installed() -> Catalog:
    """The catalog of this Python environment; imports no component."""
    components = [_entry(point) for point in metadata.entry_points(group=COMPONENTS)]
    return Catalog(components, list(metadata.entry_points(group=RECIPES)))


def _check_single(kind: str, providers: list[Entry]) -> None:
    if len(providers) > 1:
        owners = " and ".join(f"{entry.distribution} ({entry.value})" for entry in providers)
        raise PluginError(f"{kind} `{providers[0].name}` is provided by {owners}; uninstall one of them")


def _entry(point: metadata.EntryPoint) -> Entry:
    owner = point.dist
    # Drop the extras that the entry-point format allows after the name.
    value = point.value.partition("[")[0].strip()
    return Entry(point.name, value, owner.name if owner else "", owner.version if owner else "")


def file_entry(spec: str) -> Entry:
    """The entry for `path.py:Class`, or `path.py` when it holds exactly one component.

    Raises:
        PluginError: no such file, it cannot be imported, or it does not hold exactly one component and none is named.
    """
    from dapoctl.components.base import Component, snake_case

    path, attribute = Path(spec).expanduser(), ""
    head, _, last = spec.rpartition(":")
    if head.endswith(".py") and not path.is_file():
        path, attribute = Path(head).expanduser(), last
    if not path.is_file():
        raise PluginError(f"no plugin file `{path}`; the form is `./my_idea.py:MyIdea`")
    module = import_file(path.resolve())
    classes = [
        name
        for name, member in vars(module).items()
        if inspect.isclass(member) and issubclass(member, Component) and member.__module__ == module.__name__
    ]
    if not attribute:
        if len(classes) != 1:
            problem = (
                f"holds {', '.join(classes)}; name one (`{path}:{classes[0]}`)"
                if classes
                else "holds no dapoctl.Component"
            )
            raise PluginError(f"plugin file `{path}` {problem}")
        attribute = classes[0]
    if attribute not in vars(module):
        raise PluginError(f"plugin file `{path}` has no class `{attribute}`.{nearest(attribute, classes)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Entry(snake_case(attribute), f"{path.resolve()}:{attribute}", sha256=digest)
