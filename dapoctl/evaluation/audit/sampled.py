"""The responses that a run stored while it trained, in spans of steps."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dapoctl.errors import UserError
from dapoctl.runs.files import JsonLines
from dapoctl.runs.samples import Group, Response, path_of, read_step, steps_of


@dataclass
class SampledGroup:
    """The responses to one prompt, with their texts."""

    group: Group
    step: int
    texts: list[str]

    @property
    def responses(self) -> list[Response]:
        """One for each text."""
        return self.group.responses


@dataclass
class Span:
    """Steps that are looked at together."""

    first: int
    last: int
    groups: list[SampledGroup] = field(default_factory=list)
    stored: int = 0
    """Responses that these steps have; more than are in `groups` where some were drawn"""

    @property
    def count(self) -> int:
        """Responses in `groups`."""
        return sum(len(group.texts) for group in self.groups)


def read_spans(directory: Path, spans: int, most: int, seed: int = 0, last: int = 0) -> list[Span]:
    """The run's stored steps in at most `spans` spans of equal length.

    Args:
        directory: the run's folder
        spans: how many
        most: responses of a span; where there are more, whole groups are drawn at random
        seed: of that
        last: only the last so many steps; 0 for all

    Raises:
        UserError: the run stored no responses.
    """
    steps = steps_of(directory)[-last:]
    if not steps:
        raise UserError(f"run `{directory.name}` has stored no responses of its training: `samples` has no step")
    found = []
    for part in _parts(steps, spans):
        span = Span(part[0], part[-1])
        whole = [(step, group) for step in part for group in read_step(path_of(directory, step)).groups]
        span.stored = sum(len(group.responses) for _, group in whole)
        chosen = _drawn(whole, most, random.Random(f"{seed}/{span.first}"))
        span.groups = [*_with_texts(directory, chosen)]
        found.append(span)
    return found


def _parts(steps: Sequence[int], count: int) -> list[Sequence[int]]:
    count = min(count, len(steps))
    ends = [round(index * len(steps) / count) for index in range(count + 1)]
    return [steps[start:end] for start, end in itertools.pairwise(ends)]


def _drawn(groups: list[tuple[int, Group]], most: int, rng: random.Random) -> list[tuple[int, Group]]:
    """Groups at random with at most `most` responses in all, one at least; in their order."""
    order, total = rng.sample(range(len(groups)), len(groups)), 0
    chosen: list[int] = []
    for index in order:
        size = len(groups[index][1].responses)
        if chosen and total + size > most:
            break
        chosen.append(index)
        total += size
    return [groups[index] for index in sorted(chosen)]


def _with_texts(directory: Path, groups: Sequence[tuple[int, Group]]) -> Iterator[SampledGroup]:
    by_step: dict[int, dict[int, str]] = {}
    for step, group in groups:
        by_step.setdefault(step, {}).update(dict.fromkeys((response.place for response in group.responses), ""))
    for step, texts in by_step.items():
        for line in JsonLines(path_of(directory, step)).read():
            if line.place in texts and line.value is not None:
                texts[line.place] = str(line.value.get("response", ""))
    for step, group in groups:
        yield SampledGroup(group, step, [by_step[step][response.place] for response in group.responses])
