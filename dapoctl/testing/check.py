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
"""The status of a property with different results for several hooks: the first that occurs"""


def check_component(component: type[Component] | Component, /, *, name: str = "", **parameters: Any) -> None:
    """Check a component against every property of its hooks; hooks that it lacks are not tested.

    Args:
        component: the class, or an instance, whose parameters are then used
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
    """One result per property, as soon as it is known; `step` says whether to include the slow ones: the real
    training step, and engines."""
    subject = Subject(cls, name or snake_case(cls.__name__), parameters or {})
    checked = Examination(subject)
    with subject.stack:
        for checked_property in PROPERTIES:
            if step or not checked_property.slow:
                yield checked.result(checked_property)


@dataclass
class Examination:
    """What is known of a component so far."""

    subject: Subject
    broken: set[tuple[str, str]] = field(default_factory=set)
    """(property, hook); the hook is empty for a property of the whole component"""

    def result(self, checked_property: Property) -> Result:
        """Check one property for every hook that it applies to."""
        start = time.perf_counter()
        outcomes = [(hook, *self._outcome(checked_property, hook)) for hook in self._hooks(checked_property)]
        statuses = {status for _, status, _ in outcomes}
        failures = tuple(finding for _, _, finding in outcomes if isinstance(finding, Failure))
        self.broken |= {(checked_property.name, hook) for hook, status, _ in outcomes if status == "failed"}
        notes = dict.fromkeys(finding for _, _, finding in outcomes if isinstance(finding, str) and finding)
        status: Status = next((status for status in SEVERITY if status in statuses), "not applicable")
        seconds = time.perf_counter() - start
        return Result(checked_property.name, checked_property.meaning, status, failures, "; ".join(notes), seconds)

    def _outcome(self, checked_property: Property, hook: str) -> tuple[Status, str | Failure]:
        unmet = self._unmet_need(checked_property, hook)
        if unmet:
            return "not run", f"needs `{unmet}` to hold"
        try:
            with one_thread():
                return "ok", checked_property.check(self.subject, hook)
        except Unchecked as reason:
            return "not applicable", f"{hook} not checked: {reason}" if hook else str(reason)
        except Broken as broken:
            return "failed", Failure(hook, broken.case, broken.found, broken.fix or checked_property.fix)
        except Exception as error:  # noqa: BLE001 (what a component does or returns may break anything)
            return "failed", Failure(hook, "any", f"{type(error).__name__}: {error}", checked_property.fix)

    def _hooks(self, checked_property: Property) -> list[str]:
        """The hooks to check the property for; `[""]` if it is about the whole component, or if the hooks are unknown."""
        if not checked_property.needs or ("hooks", "") in self.broken:
            return [""]
        if checked_property.hooks:
            return [hook for hook in self.subject.hooks if hook in checked_property.hooks]
        return [""] if {*self.subject.hooks} & {*checked_property.any_of} else []

    def _unmet_need(self, checked_property: Property, hook: str) -> str:
        """A broken property that this one needs: for the same hook, or for any if it is about the whole component."""
        unusable = next((name for name in ("builds", "hooks") if (name, "") in self.broken), "")
        if checked_property.needs and unusable:
            return unusable
        broken = {name for name, broken_hook in self.broken if not hook or broken_hook in (hook, "")}
        return next((name for name in checked_property.needs if name in broken), "")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: everything here is small, and several would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
