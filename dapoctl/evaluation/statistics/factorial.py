"""What a two-level factorial design can be asked: weights of its cells, for `CellMeans.contrast`.

A cell is the set of its factors that are on. From the same cells come a factor's main effect, interactions, the ladder in which
a paper adds one part after the other, and what is lost when one part is left out (Montgomery, Design and Analysis of
Experiments, chapter 6). In a fraction of the design effects are aliased: what is found may be another's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

Cell = frozenset[str]
"""Factors that are on"""


def main_effect(cells: Mapping[str, Cell], factor: str) -> dict[str, float]:
    """The mean with the factor on minus the mean with it off, over all settings of the others."""
    on = [name for name, factors in cells.items() if factor in factors]
    off = [name for name, factors in cells.items() if factor not in factors]
    return dict.fromkeys(on, 1 / max(1, len(on))) | dict.fromkeys(off, -1 / max(1, len(off)))


def interaction(cells: Mapping[str, Cell], first: str, second: str) -> dict[str, float]:
    """The effect of `first` where `second` is on minus its effect where `second` is off: a difference of differences."""
    weights: dict[str, float] = {}
    for a in (True, False):
        for b in (True, False):
            group = [name for name, on in cells.items() if (first in on) is a and (second in on) is b]
            weights |= dict.fromkeys(group, (1 if a is b else -1) / max(1, len(group)))
    return weights


def ladder(cells: Mapping[str, Cell], order: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
    """(factor, weights) of each step of the ladder that switches the factors on in that order, from none to all.

    A step whose cells are not there is left out.
    """
    named = {factors: name for name, factors in cells.items()}
    steps = []
    for place, factor in enumerate(order):
        before, after = frozenset(order[:place]), frozenset(order[: place + 1])
        if before in named and after in named:
            steps.append((factor, {named[after]: 1.0, named[before]: -1.0}))
    return steps


def leave_one_out(cells: Mapping[str, Cell], factors: Collection[str]) -> list[tuple[str, dict[str, float]]]:
    """(factor, weights) of what all factors together gain from each of them: all on minus all but it."""
    named = {on: name for name, on in cells.items()}
    whole = frozenset(factors)
    return [
        (factor, {named[whole]: 1.0, named[whole - {factor}]: -1.0})
        for factor in factors
        if whole in named and whole - {factor} in named
    ]
