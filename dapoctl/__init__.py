"""dapoctl: reinforcement learning on small language models, one component at a time.

What plugin authors import. Nothing here imports torch, and each name is imported when it is first used, so that
`dapoctl --help` does not wait for pydantic.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dapoctl.batch import Batch, Counts, Problem, PromptPool, Refill, RunInfo, Score, Tokens
    from dapoctl.components.base import Component
    from dapoctl.components.recipe import Recipe
    from dapoctl.engines import Completion, Engine, Sampling
    from dapoctl.errors import DapoctlError, PluginError, RunWarning, UserError
    from dapoctl.hookspecs import hookimpl

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Completion",
    "Component",
    "Counts",
    "DapoctlError",
    "Engine",
    "PluginError",
    "Problem",
    "PromptPool",
    "Recipe",
    "Refill",
    "RunInfo",
    "RunWarning",
    "Sampling",
    "Score",
    "Tokens",
    "UserError",
    "hookimpl",
]

_EXPORTS = {
    "dapoctl.batch": ("Batch", "Counts", "Problem", "PromptPool", "Refill", "RunInfo", "Score", "Tokens"),
    "dapoctl.components.base": ("Component",),
    "dapoctl.components.recipe": ("Recipe",),
    "dapoctl.engines": ("Completion", "Engine", "Sampling"),
    "dapoctl.errors": ("DapoctlError", "PluginError", "RunWarning", "UserError"),
    "dapoctl.hookspecs": ("hookimpl",),
}


def __getattr__(name: str) -> object:
    for module, names in _EXPORTS.items():
        if name in names:
            globals()[name] = value = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
