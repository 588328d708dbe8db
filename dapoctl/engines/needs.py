"""What an engine's component may say of itself before a run starts. `dapoctl doctor` asks for it; each method is optional.

- `packages()`, a class method: the packages without which the engine does not start, as requirements or as `Package`
- `memory(workload)`: bytes by part while it samples, and bytes by part of what it still holds while weights are updated
- `obstacle(workload)`: (what, why, what to change) when the engine would refuse to start; None when it would not
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
    """What people call it; by default its name"""
    fix: str = ""
    """How to install it; by default with pip"""
    without: frozenset[str] = frozenset()
    """Requirements of the package that are left out on purpose"""


@dataclass(frozen=True, slots=True)
class Saving:
    """A setting that takes less memory."""

    setting: str
    values: Sequence[Any]
    """To try, the mildest first"""
    idle: str = ""
    """Of a switch that costs time, and nothing else: why it should be off where memory has room"""


__all__ = ["Package", "Saving"]
