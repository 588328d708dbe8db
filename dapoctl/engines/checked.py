"""An engine wrapped so that what it raises, and invalid results that it returns, name its component."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dapoctl.components.culprit import describe_error
from dapoctl.engines import Completion, Engine, Sampling
from dapoctl.errors import DapoctlError, HookError

if TYPE_CHECKING:
    from torch import Tensor

METHODS = ("generate", "load_weights", "sleep", "wake", "close")
CALLBACKS = ("progress", "finished")
"""Attributes that callers set on an engine that has them"""


class CheckedEngine:
    """Checks each call of the engine of component `name`; everything else is passed on."""

    def __init__(self, name: str, engine: Engine) -> None:
        """
        Raises:
            HookError: it lacks a method.
        """
        missing = [method for method in METHODS if not callable(getattr(engine, method, None))]
        if missing:
            raise HookError(
                f"component `{name}`, hook `build_engine` returned {type(engine).__name__}, which has no"
                f" {', '.join(f'`{method}`' for method in missing)}; an engine has {', '.join(METHODS)} (dapoctl.Engine)"
            )
        self._name, self._engine = name, engine

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "_engine":  # a copy that is being made
            raise AttributeError(attribute)
        return getattr(self._engine, attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        if attribute in CALLBACKS:
            setattr(self._engine, attribute, value)
        else:
            super().__setattr__(attribute, value)

    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
        """See `Engine.generate`.

        Raises:
            HookError: it raised, or did not return `n` completions for each prompt.
        """
        with self._naming_component("generate"):
            completions = self._engine.generate(prompt_ids, sampling, n)
        violation = _contract_violation(completions, len(prompt_ids), sampling.max_tokens, n)
        if violation:
            raise HookError(f"component `{self._name}`, the engine's `generate` returned {violation}")
        return completions

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """See `Engine.load_weights`."""
        self._call("load_weights", self._engine.load_weights, weights)

    def sleep(self) -> None:
        """See `Engine.sleep`."""
        self._call("sleep", self._engine.sleep)

    def wake(self) -> None:
        """See `Engine.wake`."""
        self._call("wake", self._engine.wake)

    def close(self) -> None:
        """See `Engine.close`."""
        self._call("close", self._engine.close)

    def _call(self, method: str, call: Callable[..., None], *arguments: Any) -> None:
        with self._naming_component(method):
            call(*arguments)

    @contextmanager
    def _naming_component(self, method: str) -> Iterator[None]:
        try:
            yield
        except DapoctlError:
            # From the verifier, or raised by the engine on purpose.
            raise
        except (Exception, SystemExit) as error:
            where = f"component `{self._name}`, the engine's `{method}`"
            raise HookError(f"{where} raised {describe_error(error, type(self._engine))}") from error


def _contract_violation(completions: Any, prompts: int, max_tokens: int, n: int) -> str:
    """What is wrong with an engine's completions and what they must be; empty if nothing is."""
    if not isinstance(completions, Sequence) or len(completions) != prompts:
        returned = f"{len(completions)} groups" if isinstance(completions, Sequence) else type(completions).__name__
        return f"{returned} for {prompts} prompts; it must return a list of one group for each, in their order"
    for index, group in enumerate(completions):
        if len(group) != n:
            return f"{len(group)} completions for prompt {index}; it was asked for {n} of each"
        for completion in group:
            tokens, logprobs = len(completion.token_ids), len(completion.logprobs)
            if tokens != logprobs:
                return f"a completion of {tokens} tokens and {logprobs} logprobs for prompt {index}; each token has one"
            if not 0 < tokens <= max_tokens:
                return (
                    f"a completion of {tokens} tokens for prompt {index}; it must have 1 to max_tokens = {max_tokens}"
                )
    return ""
