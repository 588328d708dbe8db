"""What a component is: a pydantic model whose fields are its parameters and whose `@hookimpl` methods are its stages."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr

from dapoctl import hookspecs
from dapoctl.components.culprit import definition_location
from dapoctl.components.settings import Settings
from dapoctl.errors import PluginError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.batch import Problem
    from dapoctl.config import RunConfig

TASK_HOOKS = ("load_problems", "score_response")
"""What a task provides, and what others may wrap around it"""
PROVIDES, WRAPS = "provides", "wraps"
Sink = Callable[[str, "Tensor | float"], None]


class UnknownHookError(PluginError):
    """A component implements a hook, or takes an argument of one, that this version does not have."""


class Component(Settings):
    """Base class of every component.

    Example:
        >>> from dapoctl import Component, hookimpl
        >>> class Shift(Component):
        ...     '''Add a constant to every reward.'''
        ...     by: float = 0.5
        ...     @hookimpl
        ...     def shape_rewards(self, batch):
        ...         return batch.rewards.new_full(batch.rewards.shape, self.by)
        >>> stages_of(Shift)
        ('shape_rewards',)
    """

    paper: ClassVar[str] = ""
    """Where the component comes from: a citation, with the equation."""
    differs: ClassVar[str] = ""
    """Where it differs from that source, in a sentence or two."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """Costly parts of `Tokens` to compute: "ref_logprobs", "entropy". Where it depends on the parameters, override
    `token_parts`."""
    per_token: ClassVar[bool] = False
    """`policy_loss` and `regularize`, or wrappers around them, look at each token alone (no `sequence_mean` or
    `sequence_sum`), so that a loss chunk's gradient can be taken at once and its logits need not be computed twice. Where
    it depends on the parameters, override `is_per_token`."""

    _name: str = PrivateAttr(default="")
    _sink: Sink | None = PrivateAttr(default=None)

    # pluggy compares plugins with ==; two components with equal parameters are still two components.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def name(self) -> str:
        """The entry point's name; the class name in snake case for a component built by hand."""
        return self._name or snake_case(type(self).__name__)

    def log(self, name: str, values: Tensor | float) -> None:
        """Record a metric of this step; tensors are averaged over all their elements, over every call.

        A name without a slash is put under the component's own name. Outside a run this does nothing.
        """
        if self._sink is not None:
            self._sink(name if "/" in name else f"{self.name}/{name}", values)

    def attach(self, name: str, sink: Sink | None = None) -> None:
        """Set the component's name in the run and where its metrics go (called by the core)."""
        self._name, self._sink = name, sink

    def is_per_token(self) -> bool:
        """Whether the component, with its parameters, looks at each token alone; `per_token` by default.

        One whole-sequence loss, penalty or wrapper in a run is enough for every one of them to be given whole sequences.
        """
        return self.per_token

    def token_parts(self) -> frozenset[str]:
        """The costly parts of `Tokens` that the component, with its parameters, reads; `uses` by default."""
        return self.uses

    def check_run(self, config: RunConfig) -> None:
        """Refuse a run that the component cannot serve: raise `UserError`, naming key, value and fix."""

    def cannot_act(self, config: RunConfig) -> str:  # noqa: ARG002 (for those that override it)
        """Why the component changes nothing in this run, and what to set so that it does; empty if it acts.

        The user is warned before the run begins. `config.components` has the parameters of every component.
        """
        return ""

    def cannot_act_on(self, config: RunConfig, problems: int) -> str:  # noqa: ARG002 (for those that override it)
        """The same, of a run that has so many problems to train on, which is known once they are loaded."""
        return ""

    def did_not_act(self, metrics: Mapping[str, Sequence[float]]) -> str:  # noqa: ARG002 (for those that override it)
        """What the component did not do in a whole run, "clipped no token", and after a semicolon what to change; empty if it
        acted. Terms of 0, filters that keep everything and masks that mask nothing are found without it.

        Args:
            metrics: the values of each metric over the run's steps
        """
        return ""

    def check_data(self, split: str) -> None:
        """Refuse problems of `split` ("train", "test") that are not there or cannot be read: raise `UserError`.

        Called for tasks before a run is made, so that no run waits in a queue for a missing file. Look at the first rows.
        """

    def judges(self) -> Mapping[str, Callable[[Problem, str], bool]]:
        """Other rules by which a response may be called right, by name: `dapoctl audit` counts where they disagree with the
        verdict that training uses. Called with a problem of `load_problems` and a response's text.
        """
        return {}

    def data_files(self) -> list[str]:
        """Paths of the files that `load_problems` reads; the run's record has their sizes and SHA-256."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint must hold: tensors, numbers, strings, and lists and dicts of these."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def close(self) -> None:
        """Release workers and files; called once, when the run ends."""


def snake_case(name: str) -> str:
    """`LengthBudget` -> `length_budget`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@functools.cache
def stages_of(cls: type[Component]) -> tuple[str, ...]:
    """The hooks that `cls` implements, in the order of a training step.

    Raises:
        PluginError: a method has a hook's name but no `@hookimpl`, or is marked but no such hook exists.
    """
    known = hookspecs.stages()
    marked = {
        name for name, member in inspect.getmembers_static(cls) if getattr(member, f"{hookspecs.PROJECT}_impl", None)
    }
    for name in sorted(marked - known.keys()):
        raise UnknownHookError(
            f"`{cls.__name__}.{name}` is a @hookimpl{_location(cls, name)}, but there is no such hook."
            f"{nearest(name, [*known])}"
        )
    for name in known.keys() - marked:
        if callable(inspect.getattr_static(cls, name, None)):
            raise PluginError(
                f"`{cls.__name__}.{name}` has the name of a hook but is not marked{_location(cls, name)};"
                " put @hookimpl above it"
            )
    for name in sorted(marked):
        _check_arguments(cls, name, known[name])
    return tuple(name for name in known if name in marked)


@functools.cache
def provided_by(cls: type[Component]) -> tuple[str, ...]:
    """The hooks of `stages_of` that `cls` returns a result for; a hook wrapper only changes the results of others."""
    return tuple(name for name in stages_of(cls) if not _is_wrapper(inspect.getattr_static(cls, name)))


def roles_of(cls: type[Component]) -> dict[str, str]:
    """By hook that `cls` implements: whether it `provides` a result or `wraps` those of others."""
    return {name: PROVIDES if name in provided_by(cls) else WRAPS for name in stages_of(cls)}


def only_observes(cls: type[Component]) -> bool:
    """Whether `cls` sees what is done and takes no part in it."""
    return all(name.startswith("on_") for name in stages_of(cls))


def misspelled_hook(cls: type[Component]) -> str:
    """`" Is `shape_reward` meant to be `shape_rewards`?"` for a method that is nearly a hook, or an empty string."""
    for name, member in vars(cls).items():
        close = difflib.get_close_matches(name, [*hookspecs.stages()], n=1, cutoff=0.8)
        if close and inspect.isfunction(member):
            return f" Is `{name}`{definition_location(member)} meant to be `{close[0]}`?"
    return ""


def _location(cls: type[Component], name: str) -> str:
    return definition_location(inspect.getattr_static(cls, name))


def _is_wrapper(member: Any) -> bool:
    options = getattr(member, f"{hookspecs.PROJECT}_impl")
    return bool(options["wrapper"] or options["hookwrapper"])


def _check_arguments(cls: type[Component], name: str, spec: Callable[..., Any]) -> None:
    allowed = list(inspect.signature(spec).parameters)
    for argument, parameter in list(inspect.signature(getattr(cls, name)).parameters.items())[1:]:
        where = f"`{cls.__name__}.{name}`"
        if argument not in allowed:
            raise UnknownHookError(
                f"{where} takes an argument `{argument}` that the hook does not have; it may take:"
                f" {', '.join(allowed) or 'none'}{_location(cls, name)}"
            )
        if parameter.default is not parameter.empty:
            raise PluginError(
                f"{where}: argument `{argument}` has a default; pluggy would never fill it in, so remove it"
                f"{_location(cls, name)}"
            )
