"""From files, options and defaults to one resolved run: its configuration checked, its components built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from dapoctl.components.base import provided_by
from dapoctl.components.catalog import Catalog, installed
from dapoctl.components.listing import providers_of
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.resolver import (
    Chosen,
    build,
    build_component,
    check_components,
    choose,
    corrections_of,
    idle_components,
    spelled_out,
    unreached_sets,
)
from dapoctl.config.load import COMMAND_LINE, Layers, flatten, parse_override, read_toml
from dapoctl.config.schema import KEYS, TABLES, RunConfig
from dapoctl.errors import ConfigError, PluginError, nearest, validation_message
from dapoctl.models import default_config

OBSERVERS = ("tensorboard",)
"""Components that are part of every run unless they are left out by `-name`"""


@dataclass(frozen=True)
class Resolved:
    """A run that is ready to start."""

    config: RunConfig
    """With the parameters of every component"""
    chosen: dict[str, Chosen]
    pipeline: Pipeline
    warnings: tuple[str, ...] = ()
    words: Mapping[str, Any] = field(default_factory=dict)
    """`plugins`, `task` and `engine` with files by their absolute paths and classes, as a run's record has them"""
    asked_for: frozenset[str] = frozenset()
    """The components that the user chose or gave a parameter other than its default"""
    added: tuple[str, ...] = ()
    """Corrections that are part of the run since its engine's distribution is not the trainer's"""
    why_added: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The resolved configuration with every component's parameters, in the form of a TOML file."""
        return flatten(self.config)

    def as_toml(self) -> str:
        """`as_dict` as TOML; loading it again resolves to the same run."""
        return tomli_w.dumps(self.as_dict())


def load(
    files: Iterable[Path] = (),
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
) -> Resolved:
    """Resolve a run from TOML `files`, `--set` `overrides` and command-line `options`, the last of which win.

    Raises:
        UserError: with one line per problem, naming key, value and what is allowed.
    """
    layers = Layers()
    for path in files:
        layers.add(read_toml(path), str(path))
    for text in overrides:
        layers.add(parse_override(text), COMMAND_LINE)
    layers.add({key: value for key, value in (options or {}).items() if value is not None}, "the command line")
    return resolve(layers, catalog)


def resolve(layers: Layers, catalog: Catalog | None = None, *, recorded: bool = False) -> Resolved:
    """Check merged values and build the run's components.

    Args:
        recorded: the values are a run's record, whose `plugins` have its recipe's corrections already, if it has any

    Raises:
        UserError: see `load`.
    """
    catalog = catalog or installed()
    model = layers.values.get("model", {})
    path = model.get("path", "tiny") if isinstance(model, dict) else None
    complete = Layers()
    if isinstance(path, str):
        complete.add(*default_config(path))
    complete.values = _merge_over(complete.values, layers.values)
    complete.sources |= layers.sources
    core = {key: value for key, value in complete.values.items() if key in KEYS}
    tables = {key: value for key, value in complete.values.items() if key not in KEYS}
    _check_tables(tables, complete.sources, catalog)
    try:
        config = RunConfig(**core)
    except ValidationError as error:
        raise ConfigError(validation_message(error, RunConfig, sources=complete.sources)) from None
    _check_roles(config, catalog)
    beside = [config.task, config.engine, *OBSERVERS]
    chosen = choose(config.recipe, config.plugins, beside, catalog)
    why, added = ("", ()) if recorded else _corrections(config, chosen, tables, complete.sources, catalog)
    plugins = [*config.plugins, *added]
    if added:
        chosen = choose(config.recipe, plugins, beside, catalog)
    warnings = _unused(tables, chosen, complete.sources, catalog)
    pipeline = build(chosen, tables, complete.sources)
    parameters = check_components(pipeline, config)
    words = {
        "plugins": [spelled_out(word, catalog) for word in plugins],
        "task": spelled_out(config.task, catalog),
        "engine": spelled_out(config.engine, catalog),
    }
    config = config.model_copy(update={"components": parameters})
    asked_for = _asked_for(pipeline, tables, catalog) - {*added}
    warnings += (*idle_components(pipeline, config, asked_for), *unreached_sets(pipeline, config))
    return Resolved(config, chosen, pipeline, warnings, words, asked_for, added, why)


def _corrections(
    config: RunConfig,
    chosen: Mapping[str, Chosen],
    tables: Mapping[str, Any],
    sources: Mapping[str, str],
    catalog: Catalog,
) -> tuple[str, tuple[str, ...]]:
    """(why, which) corrections join the components that were chosen."""
    wanted = corrections_of(config.recipe, config.plugins, catalog)
    new = tuple(name for name in wanted if name not in chosen and f"-{name}" not in config.plugins)
    if not new:
        return "", ()
    name = catalog.find(config.engine).name
    engine = build_component(name, chosen[name].cls, tables.get(name, {}), sources)
    mismatch = getattr(engine, "mismatch", None)
    why = str(mismatch(config)) if callable(mismatch) else ""
    return why, new if why else ()


def _asked_for(pipeline: Pipeline, tables: Mapping[str, Any], catalog: Catalog) -> frozenset[str]:
    """The components that the user chose, or gave a parameter other than its default: not those that are always there."""
    usual = str(RunConfig.model_fields["recipe"].default)
    always = {*catalog.recipe(usual).components} if usual in catalog.recipes() else set()
    found = {*pipeline.components} - always
    for name in always & pipeline.components.keys():
        component = pipeline.components[name]
        fields = type(component).model_fields
        keys = [key for key in tables.get(name, {}) if key in fields]
        if any(getattr(component, key) != fields[key].get_default(call_default_factory=True) for key in keys):
            found.add(name)
    return frozenset(found)


def _merge_over(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = Layers(base)
    merged.add(top, "")
    return merged.values


def _check_tables(tables: Mapping[str, Any], sources: Mapping[str, str], catalog: Catalog) -> None:
    for key, value in tables.items():
        if isinstance(value, dict):
            continue
        if key in catalog.names():
            raise ConfigError(
                f"`{key}` = {value!r} (from {sources.get(key, '?')}): `{key}` is a component, so it takes a table:"
                f" [{key}] in a file, or --set {key}.PARAMETER=..."
            )
        known = [*KEYS, *catalog.names()]
        raise ConfigError(
            f"unknown key `{key}` (from {sources.get(key, '?')}).{nearest(key, known)}"
            f" Known at the top: {', '.join(KEYS)}; and a table for each component of the run."
        )


def _unused(
    tables: Mapping[str, Any], chosen: Mapping[str, Chosen], sources: Mapping[str, str], catalog: Catalog
) -> tuple[str, ...]:
    """Tables of components that are not in the run: an error when typed by hand or unknown, else a warning."""
    warnings = []
    for key in tables.keys() - chosen.keys():
        origin = sources.get(key, "?")
        if key not in catalog.names():
            known = [*TABLES, *chosen]
            raise ConfigError(
                f"unknown table `{key}` (from {origin}).{nearest(key, known)} Known: {', '.join(TABLES)}; and of the"
                f" run's components: {', '.join(chosen)}"
            )
        if any(sources[path] == COMMAND_LINE for path in sources if path == key or path.startswith(f"{key}.")):
            raise ConfigError(f"`{key}` is not part of this run, so its parameters cannot be set; add it to --plugins")
        warnings.append(f"[{key}] in {origin} has no effect: `{key}` is not part of this run")
    return tuple(sorted(warnings))


def _check_roles(config: RunConfig, catalog: Catalog) -> None:
    for key, stage in (("task", "score_response"), ("engine", "build_engine")):
        name = getattr(config, key)
        try:
            stages = provided_by(catalog.find(name).load())
        except PluginError as error:
            raise PluginError(f"`{key}` = {name!r}: {error}") from error.__cause__
        if stage not in stages:
            options = ", ".join(providers_of(stage, catalog))
            raise ConfigError(f"`{key}` = {name!r}: `{name}` does not provide {stage}; choose one of: {options}")
