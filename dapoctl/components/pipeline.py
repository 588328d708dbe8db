"""A run's components, registered with pluggy and called hook by hook."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from dapoctl import hookspecs
from dapoctl.components import checkpointing
from dapoctl.components.base import Component, Sink, stages_of
from dapoctl.components.culprit import describe_error, error_location
from dapoctl.errors import DapoctlError, HookError, PluginError

if TYPE_CHECKING:
    from dapoctl.components.catalog import Entry

MARK = f"{hookspecs.PROJECT}_impl"
"""The attribute that `hookimpl` gives a method"""
Provider = tuple[str, Callable[..., Any]]


class _Manager(pluggy.PluginManager):
    """Looks for hooks among a component's methods alone, once for each class: pluggy 1.6 reads every attribute of every plugin,
    properties included, and 1.7 takes most of the time of making a pipeline to find out which are safe to read."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        return super().parse_hookimpl_opts(plugin, name) if name in _hooks_of(plugin.__class__) else None

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        found = _specification(name) if module_or_class is hookspecs else None
        return None if found is None else found.copy()


@functools.lru_cache(maxsize=1024)
def _hooks_of(cls: type) -> frozenset[str]:
    """Names of the methods that are marked as hooks; one that a subclass defines anew without the mark is none."""
    methods: dict[str, Any] = {}
    for parent in reversed(cls.__mro__):
        methods |= vars(parent)
    return frozenset(name for name, member in methods.items() if getattr(member, MARK, None) is not None)


@functools.cache
def _specification(name: str) -> Any:
    return pluggy.PluginManager(hookspecs.PROJECT).parse_hookspec_opts(hookspecs, name)


class Pipeline:
    """The components of a run by name, and one caller per hook and component.

    Every component is called on its own, so that each term can be logged under its name and each error can name its
    source; hook wrappers of other components stay around the call.
    """

    def __init__(self, components: Sequence[Component], entries: dict[str, Entry] | None = None) -> None:
        self.components = {component.name: component for component in components}
        self.entries = entries or {}
        self._manager = _Manager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for name, component in self.components.items():
            stages_of(type(component))
            try:
                self._manager.register(component, name)
            except pluggy.PluginValidationError as error:
                raise PluginError(f"component `{name}`: {' '.join(str(error).split())}") from error
        self._manager.check_pending()
        self._wrappers: dict[str, list[str]] = {}
        self._providers = {hook: self._callers(hook) for hook in hookspecs.stages()}

    def _callers(self, hook: str) -> list[Provider]:
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        plain = [impl for impl in implementations if not (impl.wrapper or impl.hookwrapper)]
        self._wrappers[hook] = [impl.plugin_name for impl in implementations if impl.wrapper or impl.hookwrapper]
        order = {name: index for index, name in enumerate(self.components)}
        plain.sort(key=lambda impl: order[impl.plugin_name])
        return [
            (impl.plugin_name, self._manager.subset_hook_caller(hook, [o.plugin for o in plain if o is not impl]))
            for impl in plain
        ]

    def providers(self, hook: str) -> list[str]:
        """Names of the components that implement `hook`."""
        return [name for name, _ in self._providers[hook]]

    def wrappers(self, hook: str) -> list[str]:
        """Names of the components that wrap `hook`."""
        return list(self._wrappers[hook])

    def stages(self) -> list[str]:
        """The hooks that have a provider, in the order of a training step."""
        return [hook for hook, providers in self._providers.items() if providers]

    def uses(self, what: str) -> bool:
        """Whether a component asks for a costly part of `Tokens`."""
        return any(what in component.token_parts() for component in self.components.values())

    def per_token(self) -> bool:
        """Whether every loss and penalty, and every wrapper around one, looks at each token alone."""
        hooks = ("policy_loss", "regularize")
        names = {name for hook in hooks for name in (*self.providers(hook), *self._wrappers[hook])}
        return all(self.components[name].is_per_token() for name in names)

    def attach(self, sink: Sink | None) -> None:
        """Send what components log to `sink`."""
        for name, component in self.components.items():
            component.attach(name, sink)

    def one(self, hook: str, **arguments: Any) -> Any:
        """The result of the only provider of `hook`.

        Raises:
            HookError: it raised or returned None.
        """
        ((name, caller),) = self._providers[hook]
        return self._call(name, hook, caller, arguments)

    def each(self, hook: str, **arguments: Any) -> dict[str, Any]:
        """The result of every provider of `hook`, by component name; empty when there is none.

        Raises:
            HookError: one raised or returned None.
        """
        return {name: self._call(name, hook, caller, arguments) for name, caller in self._providers[hook]}

    def observe(self, hook: str, **arguments: Any) -> None:
        """Call every observer, even if others fail; their results are ignored.

        Raises:
            HookError: the first failure.
        """
        failures = []
        for name, caller in self._providers[hook]:
            try:
                self._call(name, hook, caller, arguments, observer=True)
            except DapoctlError as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    def _where(self, name: str, hook: str) -> str:
        around = ", ".join(f"`{wrapper}`" for wrapper in self._wrappers[hook])
        return f"component `{name}`, hook `{hook}`{f' (wrapped by {around})' if around else ''}"

    def _call(
        self, name: str, hook: str, caller: Callable[..., Any], arguments: dict[str, Any], observer: bool = False
    ) -> Any:
        where = self._where(name, hook)
        try:
            result = caller(**arguments)
        except (Exception, SystemExit) as error:
            owners = [type(self.components[part]) for part in (name, *self._wrappers[hook])]
            if isinstance(error, PluginError):
                raise HookError(f"{where}: {error}{error_location(error, *owners)}") from error
            if isinstance(error, DapoctlError):
                raise
            raise HookError(f"{where} raised {describe_error(error, *owners)}") from error
        if observer:
            return None
        # A collecting hook returns a list, from which pluggy drops None.
        result = result if hookspecs.is_exclusive(hook) else (result[0] if result else None)
        if result is None:
            raise HookError(f"{where} returned None; it must return a value (is a `return` missing?)")
        return result

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State of every component, empty for those that have none."""
        return checkpointing.collect(self.components)

    def load_state_dict(self, states: dict[str, dict[str, Any]]) -> None:
        """Restore every component's state; one that saved none but has some now gets an empty one."""
        checkpointing.restore(self.components, states)

    def close(self) -> None:
        """Close every component."""
        checkpointing.close(self.components)
