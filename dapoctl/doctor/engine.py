"""What the component of an engine answers for itself (see `dapoctl.engines.needs`), whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dapoctl.components.catalog import installed
from dapoctl.components.culprit import describe_error
from dapoctl.components.listing import providers_of
from dapoctl.engines.needs import Package, Saving
from dapoctl.errors import PluginError

if TYPE_CHECKING:
    from dapoctl.components.base import Component
    from dapoctl.doctor.workload import Workload


@dataclass(frozen=True)
class EngineMemory:
    """Bytes by part while responses are sampled, and of what is still held while weights are updated."""

    sampling: dict[str, int] = field(default_factory=dict)
    updating: dict[str, int] = field(default_factory=dict)
    unknown: str = ""
    """Why it is not estimated"""


def memory_of(work: Workload) -> EngineMemory:
    """What the engine of a run takes, as its component says."""
    name, ask = work.engine.name, _method(work.engine, "memory")
    if ask is None:
        return EngineMemory(unknown=f"engine `{name}`: not estimated, since it has no `memory(workload)` to say it")
    try:
        parts = [{str(part): int(size) for part, size in dict(held).items()} for held in ask(work)]
        sampling, updating = parts
    except Exception as error:  # noqa: BLE001 (a plugin's code)
        said = describe_error(error, type(work.engine))
        return EngineMemory(unknown=f"engine `{name}`: not estimated, since its `memory` failed: {said}")
    return EngineMemory(sampling, updating)


def obstacle_of(work: Workload) -> tuple[str, str, str] | None:
    """(what, why, what to change) when the engine would refuse to start."""
    ask = _method(work.engine, "obstacle")
    return ask(work) if ask else None


def savings_of(work: Workload) -> Sequence[Saving]:
    """The settings of the engine with which it takes less memory."""
    ask = _method(work.engine, "savings")
    return ask(work) if ask else ()


def packages_of(engine: type[Component]) -> list[Package]:
    """The packages without which an engine does not start."""
    ask = _method(engine, "packages")
    return [item if isinstance(item, Package) else Package(str(item)) for item in (ask() if ask else ())]


def other_engines(chosen: str) -> Iterator[tuple[str, type[Component]]]:
    """(name, class) of the installed engines beside the one that a run has; one that does not import is left out."""
    for name in providers_of("build_engine", installed()):
        if name != chosen:
            try:
                yield name, installed().find(name).load()
            except PluginError:
                continue


def _method(owner: Any, name: str) -> Callable[..., Any] | None:
    """A method that a component may have; a parameter of that name is none."""
    found = getattr(owner, name, None)
    return found if callable(found) else None
