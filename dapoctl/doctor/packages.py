"""Installed packages against each other's requirements, from their metadata alone: nothing is imported."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from dapoctl.doctor.checks import Check, Status
from dapoctl.engines.needs import Package

OWN = "dapoctl"
SHOWN = ("transformers", "datasets", "tensorboard", "safetensors", "math-verify")
"""Packages of every run whose versions are shown; torch has a line of its own"""
OPTIONAL = {"peft": "LoRA", "gguf": "GGUF files", "accelerate": "GGUF files", "trl": "benchmarks against TRL"}
"""Packages that only some runs need, and for what"""


class Need(NamedTuple):
    """`by` needs `requirement`."""

    by: str
    requirement: Requirement


@dataclass(frozen=True, slots=True)
class Misfit:
    """An installed package that another one does not work with, or a missing one."""

    name: str
    installed: str | None
    """Installed version; None when it is missing"""
    needs: tuple[Need, ...]
    """Every requirement that is not met"""
    wanted: SpecifierSet
    """All requirements of this package together"""

    def describe(self) -> str:
        """Which package needs what, and what is installed."""
        by = ", ".join(f"{need.by} needs {self.name}{need.requirement.specifier}" for need in self.needs)
        return f"{by}; " + (f"{self.installed} is installed" if self.installed else "it is not installed")

    def fix(self) -> str:
        """The command that installs a version that meets all requirements."""
        return f"pip install '{self.name}{self.wanted}'"


@cache
def version(name: str) -> str | None:
    """The installed version; None if the package is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@cache
def requirements(name: str, extra: str = "") -> tuple[Requirement, ...]:
    """What an installed package needs on this machine; with `extra`, only what that extra adds."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return ()
    active = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        plain = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if plain != bool(extra) and (
            plain or (requirement.marker is not None and requirement.marker.evaluate({"extra": extra}))
        ):
            active.append(requirement)
    return tuple(active)


def needs(root: str, left_out: Mapping[str, Set[str]] = MappingProxyType({})) -> Iterator[Need]:
    """Every requirement of `root`, of what it requires, and so on; of a package in `left_out`, without those."""
    seen: set[tuple[str, str]] = set()
    pending = [(root, "")]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in requirements(name, extra):
            target = canonicalize_name(requirement.name)
            if target in left_out.get(name, ()):
                continue
            yield Need(name, requirement)
            pending += [(target, ""), *((target, extra_name) for extra_name in requirement.extras)]


def misfits(roots: Sequence[str], left_out: Mapping[str, Set[str]] = MappingProxyType({})) -> list[Misfit]:
    """Unmet requirements among everything that `roots` need."""
    wanted: dict[str, SpecifierSet] = {}
    unmet: dict[str, list[Need]] = {}
    for need in dict.fromkeys(need for root in roots for need in needs(root, left_out)):
        name, specifier = canonicalize_name(need.requirement.name), need.requirement.specifier
        wanted[name] = wanted.get(name, SpecifierSet()) & specifier
        installed = version(name)
        if installed is None or not specifier.contains(installed, prereleases=True):
            unmet.setdefault(name, []).append(need)
    return [
        Misfit(name, version(name), tuple(unmet_needs), wanted[name]) for name, unmet_needs in sorted(unmet.items())
    ]


def check_packages(needed: Sequence[str], engine: str, packages: Mapping[str, Sequence[Package]]) -> list[Check]:
    """Python, the libraries of every run, those of engines, the optional ones; then unmet requirements.

    Args:
        needed: optional packages that the run requires
        engine: the run's
        packages: what each engine requires
    """
    shown = [f"{name} {version(name)}" for name in SHOWN if version(name)]
    checks = [Check("python", "ok", f"{platform.python_version()}, dapoctl {version(OWN) or 'from source'}")]
    checks.append(Check("libraries", "ok", ", ".join(shown)))
    checks += [
        check_package(owner, package, engine)
        for owner, engine_packages in packages.items()
        for package in engine_packages
    ]
    checks += _optional(needed)
    left_out = {
        name_of(package): package.without for engine_packages in packages.values() for package in engine_packages
    }
    roots = [OWN, *needed, *(name for package in packages.get(engine, ()) if version(name := name_of(package)))]
    problems = misfits(roots, left_out)
    checks += [_complaint(problem, "fail") for problem in problems]
    others = [name for name in [*left_out, *OPTIONAL] if version(name) and name not in roots]
    known = {problem.name for problem in problems}
    checks += [_complaint(problem, "warn") for problem in misfits(others, left_out) if problem.name not in known]
    return checks


def _complaint(problem: Misfit, status: Status) -> Check:
    return Check(problem.name, status, problem.describe(), problem.fix())


def _optional(needed: Sequence[str]) -> Iterator[Check]:
    installed = [f"{name} {version(name)}" for name in OPTIONAL if version(name)]
    if installed:
        yield Check("optional", "ok", ", ".join(installed))
    for name, use in OPTIONAL.items():
        if name in needed and not version(name):
            yield Check(name, "fail", f"not installed, and this run needs it for {use}", f"pip install {name}")


def name_of(package: Package) -> str:
    """The distribution's name."""
    return canonicalize_name(Requirement(package.requirement).name)


def check_package(owner: str, package: Package, engine: str) -> Check:
    """Whether a package of the engine `owner` is installed, in a release that it works with, for a run with `engine`."""
    name, needed = name_of(package), owner == engine
    installed, supported = version(name), Requirement(package.requirement).specifier
    if installed is None:
        if not needed:
            return Check(owner, "note", f"not installed; engine `{engine}` needs no {package.title or name}")
        fix = package.fix or f"pip install '{package.requirement}'"
        return Check(owner, "fail", f"not installed; engine `{owner}` needs it", fix)
    if not supported.contains(installed, prereleases=True):
        text = f"{name} {installed} is installed; engine `{owner}` works with {package.requirement}"
        return Check(owner, "fail" if needed else "warn", text, package.fix or f"pip install '{package.requirement}'")
    return Check(owner, "ok", f"{name} {installed}")
