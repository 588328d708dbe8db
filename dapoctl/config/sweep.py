"""A sweep: one run for each combination of values along its axes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dapoctl.errors import ConfigError

NAME = 60
"""Maximum length of a run's name, in characters"""


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
    label: str
    """`eps_high0.28-seed1`"""


def parse_axis(text: str) -> Axis:
    """`clip_higher.eps_high=0.2,0.28`; values that contain commas are put in quotes or brackets.

    Raises:
        ConfigError: it does not have that form, or repeats a value.
    """
    key, separator, rest = text.partition("=")
    values = _split(rest)
    if not separator or not key.strip() or not values or not all(values):
        raise ConfigError(f"--axis {text!r}: the form is KEY=VALUE,VALUE, such as seed=1,2,3")
    if len({*values}) < len(values):
        raise ConfigError(f"--axis {text!r}: a value is given twice")
    return Axis(key.strip(), tuple(values))


def _split(text: str) -> list[str]:
    """Split at commas outside quotes and brackets."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and not depth:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts] if text.strip() else []


def expand(axes: Sequence[Axis]) -> list[Point]:
    """Every combination, the last axis changing fastest.

    Raises:
        ConfigError: two axes of one key.
    """
    keys = [axis.key for axis in axes]
    repeated = next((key for key in keys if keys.count(key) > 1), None)
    if repeated is not None:
        raise ConfigError(f"--axis {repeated}=...: given twice; put all its values into one")
    points = []
    for values in itertools.product(*(axis.values for axis in axes)):
        pairs = list(zip(keys, values, strict=True))
        label = "-".join(f"{key.rpartition('.')[2]}{_plain(value)}" for key, value in pairs)
        points.append(Point(tuple(f"{key}={value}" for key, value in pairs), label))
    return points


def _plain(value: str) -> str:
    """A value as part of a name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", value.strip("\"'[]{} ")).strip("_") or "none"


def run_names(base: str, points: Sequence[Point]) -> list[str]:
    """A name for the run at each point, short enough for a run's id; numbered if shortening makes two equal."""
    names = [f"{base}-{point.label}"[:NAME].rstrip("-._") for point in points]
    if len({*names}) == len(names):
        return names
    return [f"{name[: NAME - 5]}-{number}" for number, name in enumerate(names, 1)]
