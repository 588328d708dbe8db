"""An engine of anyone's: what it raises, and what it returns that no engine may, is told with its component's name."""

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
"""What callers set on an engine that has it"""


class Watched:
    """The engine of component `name`; everything but its calls is passed on."""

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
            HookError: it raised, or returned something else than `n` completions for each prompt.
        """
        with self._blamed("generate"):
            found = self._engine.generate(prompt_ids, sampling, n)
        wrong = _wrong(found, len(prompt_ids), sampling.max_tokens, n)
        if wrong:
            raise HookError(f"component `{self._name}`, the engine's `generate` returned {wrong}")
        return found

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
        with self._blamed(method):
            call(*arguments)

    @contextmanager
    def _blamed(self, method: str) -> Iterator[None]:
        try:
            yield
        except DapoctlError:
            # The verifier's, or said by the engine in words of its own.
            raise
        except (Exception, SystemExit) as error:
            where = f"component `{self._name}`, the engine's `{method}`"
            raise HookError(f"{where} raised {describe_error(error, type(self._engine))}") from error


def _wrong(found: Any, prompts: int, max_tokens: int, n: int) -> str:
    """What is wrong with an engine's completions and what they must be; empty when nothing is."""
    if not isinstance(found, Sequence) or len(found) != prompts:
        many = f"{len(found)} groups" if isinstance(found, Sequence) else type(found).__name__
        return f"{many} for {prompts} prompts; it must return a list of one group for each, in their order"
    for place, group in enumerate(found):
        if len(group) != n:
            return f"{len(group)} completions for prompt {place}; it was asked for {n} of each"
        for completion in group:
            tokens, logprobs = len(completion.token_ids), len(completion.logprobs)
            if tokens != logprobs:
                return f"a completion of {tokens} tokens and {logprobs} logprobs for prompt {place}; each token has one"
            if not 0 < tokens <= max_tokens:
                return (
                    f"a completion of {tokens} tokens for prompt {place}; it must have 1 to max_tokens = {max_tokens}"
                )
    return ""


__all__ = ["Watched"]
