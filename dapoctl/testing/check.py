"""Checking a component: property by property, or all at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dapoctl.components.base import Component, snake_case
from dapoctl.testing.properties.registry import PROPERTIES, Property
from dapoctl.testing.results import Broken, ConformanceError, Failure, Result, Status, Unchecked
from dapoctl.testing.subject import Subject

SEVERITY: tuple[Status, ...] = ("failed", "ok", "not run", "not applicable")
"""What a property is called that several hooks have different results for"""


def check_component(component: type[Component] | Component, /, *, name: str = "", **parameters: Any) -> None:
    """Hold a component against every property of its hooks; hooks that it lacks are not tested.

    Args:
        component: the class, or an instance, whose parameters are taken over
        name: the component's name in messages and metrics; by default its class's in snake case
        parameters: the parameters to check it with, in place of its defaults

    Raises:
        ConformanceError: listing each property that is broken, the smallest case that shows it, and the fix.
    """
    if isinstance(component, Component):
        parameters = {key: getattr(component, key) for key in component.model_fields_set} | parameters
        name, component = name or component.name, type(component)
    name = name or snake_case(component.__name__)
    results = list(examine(component, name, parameters))
    if any(result.status == "failed" for result in results):
        raise ConformanceError(name, results)


def examine(
    cls: type[Component], name: str = "", parameters: Mapping[str, Any] | None = None, *, step: bool = True
) -> Iterator[Result]:
    """One result per property, as they are found; `step` says whether to check what is slow, too: the real
    training step, and engines."""
    subject = Subject(cls, name or snake_case(cls.__name__), parameters or {})
    checked = Examination(subject)
    with subject.stack:
        for item in PROPERTIES:
            if step or not item.slow:
                yield checked.result(item)


@dataclass
class Examination:
    """What is known of a component so far."""

    subject: Subject
    broken: set[tuple[str, str]] = field(default_factory=set)
    """(property, hook); the hook is empty for a property of the whole"""

    def result(self, item: Property) -> Result:
        """Check one property for every hook that it is about."""
        start = time.perf_counter()
        outcomes = [(hook, *self._outcome(item, hook)) for hook in self._hooks(item)]
        statuses = {status for _, status, _ in outcomes}
        failures = tuple(found for _, _, found in outcomes if isinstance(found, Failure))
        self.broken |= {(item.name, hook) for hook, status, _ in outcomes if status == "failed"}
        notes = dict.fromkeys(found for _, _, found in outcomes if isinstance(found, str) and found)
        status: Status = next((status for status in SEVERITY if status in statuses), "not applicable")
        seconds = time.perf_counter() - start
        return Result(item.name, item.meaning, status, failures, "; ".join(notes), seconds)

    def _outcome(self, item: Property, hook: str) -> tuple[Status, str | Failure]:
        missing = self._missing(item, hook)
        if missing:
            return "not run", f"needs `{missing}` to hold"
        try:
            with one_thread():
                return "ok", item.check(self.subject, hook)
        except Unchecked as reason:
            return "not applicable", f"{hook} not checked: {reason}" if hook else str(reason)
        except Broken as broken:
            return "failed", Failure(hook, broken.case, broken.found, broken.fix or item.fix)
        except Exception as error:  # noqa: BLE001 (what a component does or returns may break anything)
            return "failed", Failure(hook, "any", f"{type(error).__name__}: {error}", item.fix)

    def _hooks(self, item: Property) -> list[str]:
        """The hooks to check `item` for; `[""]` where it is about the whole, or where the hooks are not known."""
        if not item.needs or ("hooks", "") in self.broken:
            return [""]
        if item.hooks:
            return [hook for hook in self.subject.hooks if hook in item.hooks]
        return [""] if {*self.subject.hooks} & {*item.any_of} else []

    def _missing(self, item: Property, hook: str) -> str:
        """A property that `item` needs and that is broken: for the same hook, for any where `item` is about the whole."""
        unusable = next((name for name in ("builds", "hooks") if (name, "") in self.broken), "")
        if item.needs and unusable:
            return unusable
        broken = {name for name, place in self.broken if not hook or place in (hook, "")}
        return next((name for name in item.needs if name in broken), "")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Everything here is small: several threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
