"""From a study to the configuration of each of its arms."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.config.load import Layers, read_toml
from dapoctl.config.resolve import Resolved, resolve
from dapoctl.errors import ConfigError, nearest
from dapoctl.study.schema import Study

IDLE = "does not act in this run"


def run_name(arm: str, seed: int) -> str:
    """The name of an arm's run with a seed."""
    return f"{arm}-s{seed}"


@dataclass(frozen=True)
class Planned:
    """An arm or a cell, as it is run."""

    name: str
    layers: tuple[tuple[str, Mapping[str, Any]], ...]
    """(where it comes from, part of the configuration), the last of which win; `plugins` add up"""
    factors: frozenset[str] | None = None
    """Of a cell, those that are on"""
    against: str = ""
    placebo: bool = False
    what: str = ""

    def resolve(self, seed: int) -> Resolved:
        """Its run with a seed.

        Raises:
            UserError: it cannot be run.
        """
        layers, plugins = Layers(), []
        for source, part in self.layers:
            plugins += _words(part.get("plugins", []), source)
            layers.add({key: value for key, value in part.items() if key != "plugins"}, source)
        layers.add({"plugins": plugins, "seed": seed, "name": run_name(self.name, seed)}, f"arm `{self.name}`")
        return resolve(layers)


def _words(plugins: Any, source: str) -> list[str]:
    if not isinstance(plugins, list) or not all(isinstance(word, str) for word in plugins):
        raise ConfigError(f"`plugins` = {plugins!r} (from {source}): must be a list of names")
    return list(plugins)


def cells_and_arms(study: Study, folder: Path) -> dict[str, Planned]:
    """Every cell of the factorial and every arm, by name; also arms that others only begin with.

    Args:
        folder: what the names of configuration files are relative to

    Raises:
        ConfigError: a name is unknown or taken twice, or arms begin with each other.
    """
    base = [(name, read_toml(folder / name)) for name in study.study.config]
    base.append(("[base]", study.base))
    found = _cells(study, base)
    if taken := found.keys() & study.arm.keys():
        raise ConfigError(f"[arm.{min(taken)}] has the name of a cell of the factorial; call it otherwise")
    baseline = study.design.baseline or (study.design.none if study.design.factorial else "")
    for name in study.arm:
        _add_arm(study, name, base, found, baseline, ())
    pilot = study.design.pilot.arm if study.design.pilot is not None else ""
    for kind, name in (("design.baseline", baseline), ("design.pilot.arm", pilot)):
        if name and name not in found:
            raise ConfigError(
                f"`{kind}` = {name!r}: no such arm or cell.{nearest(name, [*found])} Known: {', '.join(found)}"
            )
    for planned in found.values():
        if planned.against and planned.against not in found:
            raise ConfigError(
                f"`arm.{planned.name}.against` = {planned.against!r}: no such arm or cell.{nearest(planned.against, [*found])}"
            )
    return found


def _cells(study: Study, base: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Planned]:
    design, found = study.design, {}
    for bits in itertools.product((False, True), repeat=len(design.factorial)) if design.factorial else ():
        if design.half and sum(bits) % 2:
            continue
        on = frozenset(itertools.compress(design.factorial, bits))
        name = (
            design.none
            if not on
            else design.all
            if len(on) == len(bits)
            else "+".join(itertools.compress(design.factorial, bits))
        )
        levels = [
            (
                f"[factor.{factor}.{'on' if bit else 'off'}]",
                study.factor[factor].on if bit else study.factor[factor].off,
            )
            for factor, bit in zip(design.factorial, bits, strict=True)
        ]
        found[name] = Planned(name, (*base, *levels), on)
    return found


def _add_arm(
    study: Study,
    name: str,
    base: Sequence[tuple[str, Mapping[str, Any]]],
    found: dict[str, Planned],
    baseline: str,
    above: tuple[str, ...],
) -> None:
    if name in found:
        return
    arm = study.arm[name]
    if name in above:
        raise ConfigError(
            f"arms begin with each other: {' -> '.join([*above, name])}; one must begin with something else"
        )
    layers = tuple(base)
    if arm.origin:
        if arm.origin not in found and arm.origin not in study.arm:
            known = [*found, *study.arm]
            raise ConfigError(f"`arm.{name}.from` = {arm.origin!r}: no such arm or cell.{nearest(arm.origin, known)}")
        if arm.origin not in found:
            _add_arm(study, arm.origin, base, found, baseline, (*above, name))
        layers = found[arm.origin].layers
    against = arm.against or (baseline if baseline != name else "")
    found[name] = Planned(
        name, (*layers, (f"[arm.{name}]", arm.changes)), None, against, arm.role == "placebo", arm.what
    )
