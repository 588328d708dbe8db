"""What a run trains on and is evaluated on, all of it: loaded by a run, and by a dry run that is asked to."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence

from dapoctl.batch import Problem
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.resolver import idle_on
from dapoctl.config import RunConfig
from dapoctl.errors import DataError, HookError, RunWarning
from dapoctl.evaluation.contamination.overlap import WORDS, overlap, without
from dapoctl.evaluation.problem_source import Source
from dapoctl.evaluation.run_sets import run_sources


def training_problems(config: RunConfig, pipeline: Pipeline) -> list[Problem]:
    """The task's problems to train on; with `eval.decontaminate` without those that an evaluation set has too.

    Raises:
        UserError: it has none, or returns something else.
    """
    (name,) = pipeline.providers("load_problems")
    found = pipeline.one("load_problems", split="train")
    if not isinstance(found, Sequence) or not all(isinstance(problem, Problem) for problem in found):
        raise HookError(
            f"component `{name}`, hook `load_problems` returned {type(found).__name__}; it must return a list of"
            " dapoctl.Problem"
        )
    if not config.eval.decontaminate:
        return list(found)
    # All of a set: `eval.limit` may be another one later.
    held_out = [problem for source in run_sources(config, pipeline) for problem in source.load()]
    kept = without(found, held_out)
    if not kept:
        raise DataError(
            f"`eval.decontaminate` = true leaves none of the {len(found)} training problems: the evaluation sets have them"
            " all; evaluate on others, or set it to false"
        )
    if len(kept) < len(found):
        warnings.warn(
            f"{len(found) - len(kept)} of {len(found)} training problems are left out by `eval.decontaminate`: an evaluation"
            f" set has their text, or {WORDS} words in a row of it",
            RunWarning,
            stacklevel=2,
        )
    return kept


def check_data(config: RunConfig, pipeline: Pipeline, asked_for: Collection[str]) -> tuple[list[str], list[str]]:
    """(how many problems each part of the run has, what stands out about them). Prompts are not measured: that takes the model.

    Args:
        asked_for: the components that the user chose

    Raises:
        UserError: something cannot be read.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunWarning)
        lines, doubts = map(list, zip(*_look(config, pipeline, asked_for), strict=True))
    told = [str(warning.message) for warning in caught if issubclass(warning.category, RunWarning)]
    return lines, list(dict.fromkeys([*told, *(doubt for found in doubts for doubt in found)]))


def _look(config: RunConfig, pipeline: Pipeline, asked_for: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    problems = training_problems(config, pipeline)
    draws = config.steps * config.rollout.prompts
    line = f"{len(problems):,} problems to train on, each drawn {draws / len(problems):.2g} times in the mean"
    yield line, idle_on(pipeline, config, asked_for, len(problems))
    for source in run_sources(config, pipeline):
        found = source.load(config.eval.limit)
        words = overlap(problems, found).words(source.label)
        line = f"{len(found):,} problems in the evaluation set `{source.label}`{_rule(source, pipeline)}"
        yield line, [words] if words else []


def _rule(source: Source, pipeline: Pipeline) -> str:
    """By which rule the set is judged, where that is not the reward's."""
    name = next(iter(pipeline.providers("score_response")), "")
    reward = getattr(pipeline.components.get(name), "scorer", "")
    judge = source.judged_by.partition("+")[0]
    same = not reward or judge == reward or name not in source.pipeline.components
    return "" if same else f", judged by `{judge}`; the reward is `{reward}`'s"
