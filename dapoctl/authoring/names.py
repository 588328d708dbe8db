"""A new component's names: in commands, in code, on the package index."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dapoctl.components.base import snake_case
from dapoctl.errors import UserError

if TYPE_CHECKING:
    from dapoctl.components.catalog import Catalog

LONGEST = 40
PREFIX = "dapoctl"
WORDS = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Names:
    """One name in every spelling that a component needs."""

    component: str
    """`length_budget`: in `--plugins`, `--set` and metrics"""
    cls: str
    """`LengthBudget`"""

    @property
    def package(self) -> str:
        """`dapoctl_length_budget`, the package to import."""
        return f"{PREFIX}_{self.component}"

    @property
    def distribution(self) -> str:
        """`dapoctl-length-budget`, for pip."""
        return self.package.replace("_", "-")


def spell(typed: str) -> Names:
    """The names for `length-budget`, `length_budget` or `LengthBudget`, with or without the prefix `dapoctl-`.

    Raises:
        UserError: it cannot be a name in Python, or on a package index.
    """
    bare = re.sub(rf"^{PREFIX}[-_](?=.)", "", typed)
    if not WORDS.fullmatch(bare):
        raise UserError(
            f"`{typed}` cannot be a component's name: letters and digits, words joined by - or _, a letter first,"
            f" such as {_example(bare)}"
        )
    cls = "".join(word[0].upper() + word[1:] for word in re.split(r"[-_]", bare))
    component = snake_case(cls)
    if len(component) > LONGEST:
        raise UserError(f"`{typed}` is too long for a name that is typed in commands: at most {LONGEST} characters")
    if component != snake_case(bare.replace("-", "_")):
        # A component in a file is named after its class, so each name must determine the other.
        raise UserError(f"`{typed}` would be the class `{cls}`, whose component name is `{component}`; use that name")
    if keyword.iskeyword(component) or keyword.iskeyword(cls):
        raise UserError(f"`{typed}` is a keyword of Python; choose another name, such as {component}_idea")
    return Names(component, cls)


def check_free(names: Names, catalog: Catalog, single_file: bool = False) -> None:
    """Refuse a name that is already taken.

    Raises:
        UserError: saying what has the name, and where it comes from.
    """
    from dapoctl.config.schema import KEYS

    name = names.component
    owners = [entry for entry in catalog.entries() if entry.name == name]
    owners += [entry for entry in catalog.recipe_entries() if entry.name == name]
    if owners:
        kind = "component" if name in catalog.names() else "recipe"
        whose = f"{owners[0].distribution} {owners[0].version} ({owners[0].value})"
        raise UserError(f"`{name}` is taken: {whose} provides a {kind} of that name; choose another")
    if name in KEYS:
        raise UserError(f"`{name}` is taken: it is a key of every run's configuration; choose another")
    module = name if single_file else names.package
    if module in sys.stdlib_module_names or _is_module(module):
        raise UserError(f"`{name}` is taken: there is already a Python module `{module}`; choose another")


def _is_module(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    # Any folder can be imported as a namespace package, which has no file of its own and hides nothing.
    return spec is not None and spec.origin is not None


def _example(typed: str) -> str:
    parts = re.findall(r"[A-Za-z]+[A-Za-z0-9]*", typed)
    return "-".join(parts).lower() if parts and typed.isascii() else "length-budget"
