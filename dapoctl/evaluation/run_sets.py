"""The evaluation sets of a run. Its own task is asked and scored there as in training; others are asked as they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dapoctl.components.base import PROVIDES, TASK_HOOKS, Component
from dapoctl.components.catalog import file_entry, installed
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.resolver import build_component
from dapoctl.config import RunConfig
from dapoctl.errors import ConfigError, PluginError, nearest
from dapoctl.evaluation.problem_source import SPLIT, Source, find_source
from dapoctl.runs.ownership import not_my_run
from dapoctl.runs.plugin_changes import changed_files
from dapoctl.runs.summary import RunSummary
from dapoctl.tasks.problem_sets import DATA_TASK


def run_sources(config: RunConfig, pipeline: Pipeline) -> list[Source]:
    """Where the problems of each entry of `eval.set` come from; nothing is loaded.

    Raises:
        UserError: an unknown set, or two of one name.
    """
    chosen_on = config.checkpoint.select_on
    if not config.eval.every:
        if chosen_on:
            raise ConfigError(f"`checkpoint.select_on` = {chosen_on!r}: nothing is evaluated, for `eval.every` is 0")
        return []
    sources = [run_source(name, config, pipeline) for name in config.eval.set or [config.task]]
    labels = [source.label for source in sources]
    if len({*labels}) < len(labels):
        raise ConfigError(f"`eval.set` = {config.eval.set}: two sets have the same name; rename a file")
    if chosen_on and chosen_on not in labels:
        raise ConfigError(
            f"`checkpoint.select_on` = {chosen_on!r}: it is not an evaluation set of this run.{nearest(chosen_on, labels)}"
            f" `eval.set` has {', '.join(labels)}"
        )
    return sources


def run_source(name: str, config: RunConfig, pipeline: Pipeline) -> Source:
    """Where the problems of one entry of `eval.set` come from; math problems are asked as the run asks its own.

    The run's own task has new instances of every component that gives, scores or wraps its problems, with their parameters
    and without what they learned in training.
    """
    asked = {"scorer": config.eval.scorer}
    owners = [name for hook in TASK_HOOKS for name in (*pipeline.providers(hook), *pipeline.wrappers(hook))]
    own = next(iter(pipeline.providers("score_response")), "")
    if own and name in (config.task, own):
        # Not as `config.task` has it: a task of the user's own may come from a file.
        parts = [
            (part, type(component), component.model_dump())
            for part, component in pipeline.components.items()
            if part in owners
        ]
        return own_source(own, parts, asked)
    table = config.components.get(DATA_TASK, {})
    asked |= {"instruction": table["instruction"]} if table.get("instruction") else {}
    return find_source(name, "", config.components, asked)


def recorded_source(name: str, config: RunConfig, summary: RunSummary, asked: Mapping[str, Any]) -> Source | None:
    """The held-out problems of a run's own task with the components that its record has for it; None for another set.

    Raises:
        PluginError: one of them is not here, its file has changed, or it is a file that another user's run asks for.
    """
    recorded = {
        str(part): dict(origin)
        for part, origin in dict(summary.spec.get("pipeline", {})).items()
        if {*TASK_HOOKS} & {*origin.get("hooks", {})}
    }
    own = next((part for part, origin in recorded.items() if origin["hooks"].get("score_response") == PROVIDES), "")
    if not own or name not in (config.task, own):
        return None
    changed = changed_files(summary)
    parts = []
    for part, origin in recorded.items():
        if part in changed:
            raise PluginError(
                f"plugin file of `{part}`, `{changed[part][0]}`, is not what run `{summary.id}` was trained with; put it back,"
                " or evaluate on a set by name or on a file"
            )
        if origin.get("sha256") and (why := not_my_run(summary.directory)):
            raise PluginError(
                f"run `{summary.id}` wants to run the file of `{part}`, {origin['entry_point']}, and the run is not yours"
                f" alone: {why}; evaluate on a set by name or on a file"
            )
        entry = file_entry(str(origin["entry_point"])) if origin.get("sha256") else installed().find(part)
        parts.append((part, entry.load(), config.components.get(part, {})))
    return own_source(own, parts, asked)


def own_source(
    own: str, parts: Sequence[tuple[str, type[Component], Mapping[str, Any]]], asked: Mapping[str, Any]
) -> Source:
    """The held-out split of task `own`, made of new instances of `parts` (name, class, parameters), in their order."""
    components = []
    for name, cls, values in parts:
        changes = {key: value for key, value in asked.items() if name == own and key in cls.model_fields}
        components.append(build_component(name, cls, {**values, **changes}))
    pipeline = Pipeline(components)
    (giver,) = pipeline.providers("load_problems")
    data = getattr(pipeline.components[giver], "data", "")
    return Source(own, pipeline, str(data or own), SPLIT)
