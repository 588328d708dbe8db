"""The component under test: fresh instances of it, and calls of its hooks as a run makes them, through pluggy."""

from __future__ import annotations

import contextlib
import copy
import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dapoctl.batch import Problem
from dapoctl.components.base import Component, provided_by, stages_of
from dapoctl.components.pipeline import Pipeline
from dapoctl.errors import HookError, UserError
from dapoctl.testing.cases import TOKENS, VOCABULARIES, Case, batch_cases
from dapoctl.testing.minimal_components import minimal_providers
from dapoctl.testing.plain_cases import POOLS, PROBLEMS, SplitCase, text_cases
from dapoctl.testing.results import Broken, Unchecked
from dapoctl.training.metrics import Metrics

if TYPE_CHECKING:
    from dapoctl.testing.rig import Rig

BATCH_HOOKS = ("shape_rewards", "filter_groups", "estimate_advantages", "mask_responses", "weigh_tokens")
TOKEN_HOOKS = ("policy_loss", "regularize")
VOCAB_HOOKS = ("regularize_vocab",)
TENSOR_HOOKS = (*BATCH_HOOKS, *TOKEN_HOOKS, *VOCAB_HOOKS)
MASKS = ("filter_groups", "mask_responses")
TASK_HOOKS = ("load_problems", "score_response")
PLAIN_HOOKS = ("select_prompts", *TASK_HOOKS, "plan_refill")
"""Hooks that return no tensor"""
ENGINES = ("build_engine",)
OBSERVERS = ("on_run_start", "on_step_end", "on_run_end")


class Subject:
    """A component's class with the parameters to check it with."""

    def __init__(self, cls: type[Component], name: str, parameters: Mapping[str, Any]) -> None:
        self.cls, self.name, self.parameters = cls, name, dict(parameters)
        self.stack = contextlib.ExitStack()
        """What to close after the last check"""
        self._unbuilt: Broken | Unchecked | None = None

    @functools.cached_property
    def hooks(self) -> tuple[str, ...]:
        """The hooks that it implements or wraps."""
        return stages_of(self.cls)

    @functools.cached_property
    def wrapped(self) -> tuple[str, ...]:
        """The hooks that it only wraps: a minimal component provides them."""
        return tuple(hook for hook in self.hooks if hook not in provided_by(self.cls))

    @functools.cached_property
    def rig(self) -> Rig:
        """Its engine, on the embedded model.

        Raises:
            Broken: it cannot be built.
            Unchecked: it is not available on this machine.
        """
        from dapoctl.testing.rig import Rig

        # If it cannot be built, that is not tried again for every property.
        if self._unbuilt is not None:
            raise self._unbuilt
        try:
            return Rig(self.name, self.stack.enter_context(self.opened()), self.stack)
        except (Broken, Unchecked) as reason:
            self._unbuilt = reason
            raise

    def build(self) -> Component:
        """A new instance; what it logs is averaged, as in a run."""
        component = self.cls(**copy.deepcopy(self.parameters))
        component.attach(self.name, Metrics().add)
        return component

    @contextlib.contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """A new instance, with minimal components for what it wraps; closed at the end."""
        pipeline = Pipeline([self.build(), *minimal_providers(self.wrapped)])
        try:
            yield pipeline
        finally:
            pipeline.close()

    def call(self, hook: str, case: Case, dtype: torch.dtype = torch.float64) -> Any:
        """What a new instance returns for `case`.

        Raises:
            Broken: it raised, or returned None.
        """
        with self.opened() as pipeline:
            return call(pipeline, hook, case.arguments(dtype), case)

    def cases(self, hook: str) -> Sequence[Case]:
        """Inputs of `hook`, small ones first."""
        if hook in BATCH_HOOKS:
            return batch_cases(hook)
        if hook in TOKEN_HOOKS:
            return TOKENS
        if hook in VOCAB_HOOKS:
            return VOCABULARIES
        if hook == "select_prompts":
            return POOLS
        if hook == "score_response":
            return text_cases(self.problems)
        return (
            [SplitCase({"split": split}) for split in ("train", "test")] if hook == "load_problems" else [SplitCase()]
        )

    @functools.cached_property
    def problems(self) -> Sequence[Problem]:
        """Problems to score responses to: the component's own if it has any."""
        if "load_problems" in self.hooks:
            with contextlib.suppress(Broken, Unchecked):
                problems = self.call("load_problems", SplitCase({"split": "train"}))
                return list(problems)[:2] or PROBLEMS
        return PROBLEMS


def call(pipeline: Pipeline, hook: str, arguments: Mapping[str, Any], case: object) -> Any:
    """What the only provider of `hook` returns.

    Raises:
        Broken: it raised, or returned None.
        Unchecked: it refused the user's configuration, such as a missing data file.
    """
    try:
        (result,) = pipeline.each(hook, **arguments).values()
    except (HookError, UserError) as error:
        if isinstance(error, HookError) or hook not in TASK_HOOKS:
            raise Broken(case, str(error)) from error
        raise Unchecked(str(error)) from error
    return result


def notify(pipeline: Pipeline, hook: str, case: str, **arguments: Any) -> None:
    """Call an observer.

    Raises:
        Broken: it raised.
    """
    try:
        pipeline.observe(hook, **arguments)
    except (HookError, UserError) as error:
        raise Broken(f"hook `{hook}`, {case}", str(error)) from error


def seed_everything(seed: int) -> None:
    """Seed the global generators: a component that draws from them is not reproducible."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Leave the caller's random generators as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
