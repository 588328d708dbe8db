"""What an engine's component may declare before a run starts; each method is optional.

- `mismatch(config)`: why it does not sample from exactly the distribution that the trainer computes, so that a recipe's
  corrections become part of the run; empty if it does
- `packages()`, a class method: the packages without which the engine does not start, as requirements or as `Package`
- `memory(workload)`: bytes by part while it samples, and bytes by part that it still holds while weights are updated
- `obstacle(workload)`: (what, why, what to change) if the engine would refuse to start, else None
- `savings(workload)`: settings of the component with which it takes less memory
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Package:
    """A package that an engine is made of."""

    requirement: str
    """As pip reads it, such as `vllm==0.32.*`"""
    title: str = ""
    """Display name; by default the package's name"""
    fix: str = ""
    """How to install it; by default with pip"""
    without: frozenset[str] = frozenset()
    """Requirements of the package that are left out on purpose"""


@dataclass(frozen=True, slots=True)
class Saving:
    """A setting that takes less memory."""

    setting: str
    values: Sequence[Any]
    """Values to try, the mildest first"""
    idle: str = ""
    """For a switch whose only cost is time: why it should be off if there is enough memory"""


__all__ = ["Package", "Saving"]
