"""What an engine's component declares about itself (see `dapoctl.engines.needs`), shipped or not."""

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
    name, memory = work.engine.name, _method(work.engine, "memory")
    if memory is None:
        return EngineMemory(unknown=f"engine `{name}`: not estimated, since its component has no `memory(workload)`")
    try:
        parts = [{str(part): int(size) for part, size in dict(held).items()} for held in memory(work)]
        sampling, updating = parts
    except Exception as error:  # noqa: BLE001 (a plugin's code)
        reason = describe_error(error, type(work.engine))
        return EngineMemory(unknown=f"engine `{name}`: not estimated, since its `memory` failed: {reason}")
    return EngineMemory(sampling, updating)


def obstacle_of(work: Workload) -> tuple[str, str, str] | None:
    """(what, why, what to change) if the engine would refuse to start."""
    obstacle = _method(work.engine, "obstacle")
    return obstacle(work) if obstacle else None


def savings_of(work: Workload) -> Sequence[Saving]:
    """The settings of the engine with which it takes less memory."""
    savings = _method(work.engine, "savings")
    return savings(work) if savings else ()


def packages_of(engine: type[Component]) -> list[Package]:
    """The packages without which an engine does not start."""
    packages = _method(engine, "packages")
    return [
        package if isinstance(package, Package) else Package(str(package))
        for package in (packages() if packages else ())
    ]


def other_engines(chosen: str) -> Iterator[tuple[str, type[Component]]]:
    """(name, class) of the installed engines other than the run's; one that cannot be imported is left out."""
    for name in providers_of("build_engine", installed()):
        if name != chosen:
            try:
                yield name, installed().find(name).load()
            except PluginError:
                continue


def _method(owner: Any, name: str) -> Callable[..., Any] | None:
    """An optional method of a component; None if it is missing, or a parameter of that name."""
    member = getattr(owner, name, None)
    return member if callable(member) else None
