"""A sweep: one run for each combination of values along its axes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dapoctl.errors import ConfigError

NAME = 60
"""Characters of a run's name at most"""


@dataclass(frozen=True)
class Axis:
    """A key and the values that it takes."""

    key: str
    values: tuple[str, ...]
    """As `--set KEY=` takes them"""


@dataclass(frozen=True)
class Point:
    """One combination."""

    overrides: tuple[str, ...]
    """For `--set`"""
    words: str
    """`eps_high0.28-seed1`"""


def parse_axis(text: str) -> Axis:
    """`clip_higher.eps_high=0.2,0.28`; values with commas in them stand in quotes or brackets.

    Raises:
        ConfigError: it has not that form, or a value twice.
    """
    key, separator, rest = text.partition("=")
    values = _split(rest)
    if not separator or not key.strip() or not values or not all(values):
        raise ConfigError(f"--axis {text!r}: the form is KEY=VALUE,VALUE, such as seed=1,2,3")
    if len({*values}) < len(values):
        raise ConfigError(f"--axis {text!r}: a value stands there twice")
    return Axis(key.strip(), tuple(values))


def _split(text: str) -> list[str]:
    """At commas outside of quotes and brackets."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and not depth:
            parts.append("")
            continue
        parts[-1] += letter
    return [part.strip() for part in parts] if text.strip() else []


def expand(axes: Sequence[Axis]) -> list[Point]:
    """Every combination, the last axis changing fastest.

    Raises:
        ConfigError: two axes of one key.
    """
    keys = [axis.key for axis in axes]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ConfigError(f"--axis {twice}=...: given twice; put all its values into one")
    found = []
    for values in itertools.product(*(axis.values for axis in axes)):
        pairs = list(zip(keys, values, strict=True))
        words = "-".join(f"{key.rpartition('.')[2]}{_plain(value)}" for key, value in pairs)
        found.append(Point(tuple(f"{key}={value}" for key, value in pairs), words))
    return found


def _plain(value: str) -> str:
    """A value as part of a name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", value.strip("\"'[]{} ")).strip("_") or "none"


def run_names(base: str, points: Sequence[Point]) -> list[str]:
    """A name for the run at each point, of a length that a run's id may have; numbered where that makes two the same."""
    names = [f"{base}-{point.words}"[:NAME].rstrip("-._") for point in points]
    if len({*names}) == len(names):
        return names
    return [f"{name[: NAME - 5]}-{place}" for place, name in enumerate(names, 1)]
