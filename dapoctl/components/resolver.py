"""From names to a pipeline: which components a run has, and with what parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dapoctl import hookspecs
from dapoctl.components.base import TASK_HOOKS, Component, UnknownHookError, misspelled_hook, provided_by, stages_of
from dapoctl.components.catalog import Catalog, Entry, installed
from dapoctl.components.culprit import describe_error
from dapoctl.components.none import dump_parameters
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.recipe import Recipe
from dapoctl.errors import ConfigError, DapoctlError, PluginError, nearest, validation_message

if TYPE_CHECKING:
    from dapoctl.config.schema import RunConfig

REQUIRED = [hook for hook in hookspecs.stages() if hookspecs.is_exclusive(hook)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A component of the run, before it is built."""

    entry: Entry
    cls: type[Component]
    stages: tuple[str, ...]
    """The hooks that it provides, without those that it only wraps"""


def recipe_components(name: str, catalog: Catalog) -> list[str]:
    """The components of a recipe: its base's, replaced where both provide a stage, and its own."""
    recipe: Recipe = catalog.recipe(name)
    if recipe.base is None:
        return list(recipe.components)
    base = _load(recipe_components(recipe.base, catalog), catalog)
    return [*_replace(base, _load(recipe.components, catalog))]


def corrections_of(recipe: str, plugins: Sequence[str], catalog: Catalog) -> list[str]:
    """What the recipe, and those in `plugins`, add where the engine's distribution is not the trainer's."""
    found: list[str] = []
    for name in (recipe, *(word for word in plugins if is_recipe(word, catalog))):
        part: str | None = name
        while part is not None:
            found += catalog.recipe(part).corrections
            part = catalog.recipe(part).base
    return list(dict.fromkeys(found))


def choose(
    recipe: str, plugins: Sequence[str], extra: Sequence[str] = (), catalog: Catalog | None = None
) -> dict[str, Chosen]:
    """The components of a run: the recipe's, changed by `plugins`; then `extra` (task, engine, observers).

    In an exactly-one stage a chosen plugin replaces the recipe's. A recipe's name in `plugins` joins the base, so that a
    plugin named beside it replaces its part. `-name` leaves out a component of the base.

    Raises:
        PluginError: unknown or broken components, two or no providers of an exactly-one stage.
    """
    catalog = catalog or installed()
    chosen = gather(recipe, plugins, extra, catalog)
    if problems := stage_problems(chosen, catalog):
        raise PluginError("\n".join(problems))
    return chosen


def gather(recipe: str, plugins: Sequence[str], extra: Sequence[str], catalog: Catalog) -> dict[str, Chosen]:
    """`choose`, without checking that each stage has the providers it needs.

    Raises:
        PluginError: unknown or broken components.
    """
    base = base_of(recipe, plugins, catalog)
    wanted = [name for name in plugins if not name.startswith("-") and not is_recipe(name, catalog)]
    for name in (name[1:] for name in plugins if name.startswith("-")):
        if name in extra:
            extra = [other for other in extra if other != name]
            continue
        if name not in base:
            if name in corrections_of(recipe, plugins, catalog):
                continue
            raise PluginError(
                f"`-{name}` removes a component that the recipe does not have.{nearest(name, [*base])}"
                f" It has: {', '.join(base)}"
            )
        del base[name]
    return _join(_replace(base, _load(wanted, catalog)), _load(extra, catalog))


def base_of(recipe: str, plugins: Sequence[str], catalog: Catalog) -> dict[str, Chosen]:
    """The components before those in `plugins` are added: the recipe's, changed by the recipes in `plugins`.

    Raises:
        PluginError: unknown or broken components.
    """
    base = _load(recipe_components(recipe, catalog), catalog)
    for name in plugins:
        if is_recipe(name, catalog):
            base = _replace(base, _load(recipe_components(name, catalog), catalog))
    return base


def is_recipe(name: str, catalog: Catalog) -> bool:
    """Whether `name` in `--plugins` is a recipe; a component of the same name takes precedence."""
    return name in catalog.recipes() and name not in catalog.names()


def spelled_out(word: str, catalog: Catalog) -> str:
    """A word of `--plugins`, `task` or `engine` so that it means the same in any folder: a file by its path and class."""
    if word.startswith("-") or is_recipe(word, catalog):
        return word
    entry = catalog.find(word)
    return entry.value if entry.sha256 else word


def _load(names: Sequence[str], catalog: Catalog) -> dict[str, Chosen]:
    loaded: dict[str, Chosen] = {}
    for name in names:
        entry = catalog.find(name)
        cls = entry.load()
        loaded = _join(loaded, {entry.name: Chosen(entry, cls, hooks_of(entry, cls))})
    return loaded


def hooks_of(entry: Entry, cls: type[Component]) -> tuple[str, ...]:
    """The hooks that the component provides.

    Raises:
        PluginError: it has none, or does not match the hooks of this version.
    """
    try:
        stages = stages_of(cls)
    except UnknownHookError as error:
        made = f"{entry.distribution} {entry.version}"
        advice = (
            f"; this is dapoctl {metadata.version('dapoctl')}: if {made} was written for a newer one, upgrade dapoctl"
        )
        advice = advice if entry.distribution else ""
        raise PluginError(f"{entry.where}: {error}{advice}") from None
    except PluginError as error:
        raise PluginError(f"{entry.where}: {error}") from None
    if not stages:
        raise PluginError(f"{entry.where} implements no hook; mark a method with @hookimpl.{misspelled_hook(cls)}")
    return provided_by(cls)


def _join(first: Mapping[str, Chosen], second: Mapping[str, Chosen]) -> dict[str, Chosen]:
    for name in first.keys() & second.keys():
        one, other = first[name].entry.value, second[name].entry.value
        if one != other:
            raise PluginError(
                f"two components are called `{name}`: {one} and {other}; leave one out or rename its class"
            )
    return {**first, **second}


def _replace(base: Mapping[str, Chosen], new: Mapping[str, Chosen]) -> dict[str, Chosen]:
    taken = {stage for choice in new.values() for stage in choice.stages if hookspecs.is_exclusive(stage)}
    kept = {name: choice for name, choice in base.items() if name not in new and not taken.intersection(choice.stages)}
    return kept | dict(new)


def stage_problems(chosen: Mapping[str, Chosen], catalog: Catalog) -> list[str]:
    """A message for every exactly-one stage that has no provider or several, saying what to do."""
    problems = []
    for stage in REQUIRED:
        names = [name for name, choice in chosen.items() if stage in choice.stages]
        if len(names) > 1:
            both = " and ".join(f"`{name}`" for name in names)
            problems.append(f"{both} {'both' if len(names) == 2 else 'all'} provide {stage}; choose one")
        if not names:
            from dapoctl.components.listing import providers_of

            options = ", ".join(providers_of(stage, catalog)) or "none is installed"
            problems.append(f"no component provides {stage}; add one of: {options}")
    return problems


def build(
    chosen: Mapping[str, Chosen],
    tables: Mapping[str, Mapping[str, Any]],
    sources: Mapping[str, str] | None = None,
) -> Pipeline:
    """Make every chosen component with the parameters in its table; `sources` says for messages who set which key.

    Raises:
        ConfigError: a parameter that the component does not have, or a value that it does not allow.
    """
    components = []
    for name, choice in chosen.items():
        component = build_component(name, choice.cls, tables.get(name, {}), sources)
        components.append(component)
    return Pipeline(components, {name: choice.entry for name, choice in chosen.items()})


def build_component(
    name: str, cls: type[Component], table: Mapping[str, Any], sources: Mapping[str, str] | None = None
) -> Component:
    """One component under its run name.

    Raises:
        ConfigError: see `build`.
        PluginError: its own code raised.
    """
    try:
        component = cls(**table)
    except ValidationError as error:
        raise ConfigError(validation_message(error, cls, prefix=name, sources=sources)) from None
    except DapoctlError:
        raise
    except Exception as error:
        raise PluginError(f"component `{name}` cannot be built: {describe_error(error, cls)}") from error
    component.attach(name)
    return component


def check_components(pipeline: Pipeline, config: RunConfig) -> dict[str, dict[str, Any]]:
    """Let every component refuse the run; the parameters of each, by its name.

    Raises:
        UserError: one cannot serve the run, or is broken.
    """
    for name, component in pipeline.components.items():
        try:
            component.check_run(config)
        except DapoctlError:
            raise
        except Exception as error:
            raise PluginError(
                f"component `{name}`, `check_run` raised {describe_error(error, type(component))}"
            ) from error
    return {name: _parameters(name, component) for name, component in pipeline.components.items()}


def idle_components(pipeline: Pipeline, config: RunConfig, asked_for: Collection[str]) -> list[str]:
    """Why components that were asked for change nothing in this run, and what to set so that they do.

    Raises:
        PluginError: one is broken.
    """
    return _idle(pipeline, asked_for, "cannot_act", config)


def idle_on(pipeline: Pipeline, config: RunConfig, asked_for: Collection[str], problems: int) -> list[str]:
    """The same, of what only so many problems to train on make idle.

    Raises:
        PluginError: one is broken.
    """
    return _idle(pipeline, asked_for, "cannot_act_on", config, problems)


def _idle(pipeline: Pipeline, asked_for: Collection[str], method: str, *arguments: Any) -> list[str]:
    found = []
    for name, component in pipeline.components.items():
        if name not in asked_for:
            continue
        try:
            why = getattr(component, method)(*arguments)
        except Exception as error:
            raise PluginError(
                f"component `{name}`, `{method}` raised {describe_error(error, type(component))}"
            ) from error
        if why:
            found.append(f"`{name}` does not act in this run: {why}")
    return found


def unreached_sets(pipeline: Pipeline, config: RunConfig) -> list[str]:
    """A line for wrappers around the run's task that do not act on sets of `eval.set`, for these are not the run's own."""
    own = {config.task, *pipeline.providers("score_response")}
    others = [name for name in config.eval.set if name not in own] if config.eval.every else []
    around = {name: hook for hook in TASK_HOOKS for name in pipeline.wrappers(hook)}
    if not others or not around:
        return []
    named = " and ".join(f"`{name}` ({hook})" for name, hook in around.items())
    return [
        f"{named} around the task `{config.task}` acts in training and on the task's own held-out problems, not on `eval.set` ="
        f" {', '.join(others)}; to evaluate with it, name the task in `eval.set` and give it these problems"
        " as its held-out ones"
    ]


def _parameters(name: str, component: Component) -> dict[str, Any]:
    try:
        return dump_parameters(component)
    except Exception as error:
        raise PluginError(
            f"component `{name}`: its parameters cannot be serialised as JSON: {describe_error(error, type(component))};"
            " give its fields types that a TOML file can hold, and keep other things in `PrivateAttr`s"
        ) from error
