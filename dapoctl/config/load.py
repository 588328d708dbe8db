"""From files, options and defaults to one resolved run: what was asked, layer by layer, and who asked it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from dapoctl.components.base import provided_by
from dapoctl.components.catalog import Catalog, installed
from dapoctl.components.listing import providers_of
from dapoctl.components.none import NONE
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.resolver import Chosen, build, check_components, choose
from dapoctl.config.schema import KEYS, TABLES, RunConfig
from dapoctl.errors import ConfigError, PluginError, nearest, validation_message
from dapoctl.models import default_config

COMMAND_LINE = "--set"
OBSERVERS = ("tensorboard",)
"""Components that are part of every run unless they are left out by `-name`"""


@dataclass
class Layers:
    """Configuration values merged in order; later layers win, and each value remembers where it came from."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, layer: Mapping[str, Any], source: str) -> None:
        """Deep-merge `layer` over what is there."""
        if isinstance(layer.get("model"), str):
            layer = {**layer, "model": {"path": layer["model"]}}
        self._merge(self.values, layer, source, "")

    def _merge(self, into: dict[str, Any], layer: Mapping[str, Any], source: str, prefix: str) -> None:
        for key, value in layer.items():
            path = f"{prefix}{key}"
            if isinstance(value, Mapping):
                if not isinstance(into.get(key), dict):
                    into[key] = {}
                self.sources.setdefault(path, source)
                self._merge(into[key], value, source, f"{path}.")
            else:
                into[key], self.sources[path] = value, source


@dataclass(frozen=True)
class Resolved:
    """A run that is ready to start."""

    config: RunConfig
    chosen: dict[str, Chosen]
    pipeline: Pipeline
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The resolved configuration with every component's parameters, in the form of a TOML file."""
        return flatten(self.config)

    def as_toml(self) -> str:
        """`as_dict` as TOML; loading it again resolves to the same run."""
        return tomli_w.dumps(self.as_dict())


def flatten(config: RunConfig) -> dict[str, Any]:
    """`config` in the form of a TOML file, one table per component; a value that is none is left out, or stands there as the
    word `none` where something else would take its place."""
    usual, _ = default_config(config.model.path)
    values = _spell_none({**config.model_dump(exclude={"components"}), **config.components}, usual)
    return {key: value for key, value in values.items() if value or key not in config.components}


def _spell_none(table: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """`usual` is what a value is when nobody says it."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        default = usual.get(key)
        if isinstance(value, dict):
            found[key] = _spell_none(value, default if isinstance(default, dict) else {})
        elif value is not None:
            found[key] = value
        elif default is not None:
            found[key] = NONE
    return found


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


def resolve(layers: Layers, catalog: Catalog | None = None) -> Resolved:
    """Check merged values and build the run's components.

    Raises:
        UserError: see `load`.
    """
    catalog = catalog or installed()
    model = layers.values.get("model", {})
    path = model.get("path", "tiny") if isinstance(model, dict) else None
    complete = Layers()
    if isinstance(path, str):
        complete.add(*default_config(path))
    complete.values = _over(complete.values, layers.values)
    complete.sources |= layers.sources
    core = {key: value for key, value in complete.values.items() if key in KEYS}
    tables = {key: value for key, value in complete.values.items() if key not in KEYS}
    _check_tables(tables, complete.sources, catalog)
    try:
        config = RunConfig(**core)
    except ValidationError as error:
        raise ConfigError(validation_message(error, RunConfig, sources=complete.sources)) from None
    _check_roles(config, catalog)
    chosen = choose(config.recipe, config.plugins, [config.task, config.engine, *OBSERVERS], catalog)
    warnings = _unused(tables, chosen, complete.sources, catalog)
    pipeline = build(chosen, tables, complete.sources)
    check_components(pipeline, config)
    return Resolved(config, chosen, pipeline, warnings)


def _over(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
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


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: it is missing or malformed.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file `{path}`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file `{path}` cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration file `{path}` is not TOML: {error}") from None


def parse_override(text: str) -> dict[str, Any]:
    """`a.b=value` as nested tables; the value is a TOML literal, or a bare word taken as text.

    Raises:
        ConfigError: no `=`, or an empty part of the key.
    """
    key, separator, value = text.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {text!r}: the form is key=value, such as --set steps=3 or --set optim.lr=1e-5")
    result: Any = _literal(value.strip())
    for part in reversed(parts):
        result = {part: result}
    assert isinstance(result, dict)
    return result


def _literal(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if text.startswith(("[", "{", '"', "'")):
            raise ConfigError(f"--set value {text!r} is not a TOML literal; check its quotes and brackets") from None
        return text


def split_names(values: Sequence[str]) -> list[str] | None:
    """`["a,b", "c"]` -> `["a", "b", "c"]`; None when the option was not given."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()] or None
