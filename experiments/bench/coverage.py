"""What the intervals, tests and minimum detectable effects of an evaluation are worth, by simulation.

    python -m experiments.bench.coverage

Thirty problems are drawn many times from a world whose truth is known: shares of beta-distributed difficulty (intraclass
correlation 0.5), or half of the problems never solved and the others beta-distributed (0.25). The other side of a pair solves
each problem with odds larger by one factor. The figures that `dapoctl compare` prints are computed from each draw.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dapoctl.evaluation.compare.ablation import effect
from dapoctl.evaluation.statistics.intervals import Interval, agreeing, difference_intervals, share_intervals
from dapoctl.evaluation.statistics.power import ALPHA, POWER, minimal_detectable, shifted, sign_flips

Array = NDArray[np.float64]
PROBLEMS = 30
MEANS = (0.02, 0.06, 0.15, 0.5)
KS = (4, 32)
SHAPES = ("beta", "spike")
NEVER = {0.5: 0.3}
"""The share of problems that nobody ever solves in the world `spike`, by mean; else one half"""
SHIFTS = (0.0, 0.7, 1.5)
"""Of the log-odds, between the two sides of a pair"""
SEEDS = (2, 3, 5)
SEEDS_MOVE = 0.3
"""Standard deviation of the log-odds between seeds"""
MANY = 200_000
DRAWS = 2_000
"""Of weights, for each interval"""
COLUMNS = 250
"""Intervals at a time"""


@dataclass(frozen=True)
class World:
    """Problems as they may be."""

    shape: str
    mean: float

    def shares(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """The chances of a right response."""
        if self.shape == "beta":
            return _beta(rng, self.mean, 0.5, size)
        never = NEVER.get(self.mean, 0.5)
        solved = _beta(rng, self.mean / (1 - never), 0.25, size)
        return np.where(rng.random(size) < never, 0.0, solved)

    def effect(self, shift: float) -> float:
        """The true difference of the two sides."""
        share = self.shares(np.random.default_rng(1), (MANY,))
        return float((shifted(share, shift) - share).mean())


WORLDS = [World(shape, mean) for shape in SHAPES for mean in MEANS]


def _beta(rng: np.random.Generator, mean: float, correlation: float, size: tuple[int, ...]) -> Array:
    sharpness = 1 / correlation - 1
    return rng.beta(mean * sharpness, (1 - mean) * sharpness, size)


@dataclass(frozen=True)
class Covered:
    """How intervals relate to the truth; everything but the width is a share of them."""

    within: float
    above: float
    """The truth is above the interval"""
    below: float
    width: float
    """The mean one"""


def covered(intervals: Sequence[Interval], truth: float) -> Covered:
    """How the intervals relate to the `truth`."""
    low, high = np.array([[each.low, each.high] for each in intervals]).T
    above, below = float((truth > high).mean()), float((truth < low).mean())
    return Covered(1 - above - below, above, below, float((high - low).mean()))


def weighted(counts: NDArray[np.int64], k: int) -> list[Interval]:
    """The intervals of avg@k that dapoctl prints, for `counts` [sets, problems]."""
    return _in_blocks(share_intervals, counts / k, k)


def _in_blocks(method: Callable[..., list[Interval]], values: Array, k: int) -> list[Interval]:
    """Intervals of the mean of each row of `values` [sets, problems]; those of a block share the draws of weights."""
    found = []
    for start in range(0, len(values), COLUMNS):
        block = values[start : start + COLUMNS].T
        found += method(block, [k] * block.shape[1], start, DRAWS)
    return found


def bootstrapped(counts: NDArray[np.int64], k: int) -> list[Interval]:
    """Cluster bootstrap with expanded percentiles (Hesterberg 2015); Clopper and Pearson's bound where nothing is right."""
    shares = counts / k
    number = shares.shape[1]
    drawn = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), size=DRAWS) / number
    tail = special.ndtr(-math.sqrt(number / (number - 1)) * special.stdtrit(number - 1, 0.975))
    low, high = np.quantile(drawn @ shares.T, [tail, 1 - tail], axis=0)
    high = np.where(shares.any(axis=1), high, 1 - 0.025 ** (1 / number))
    return [Interval(*ends) for ends in zip(low, high, strict=True)]


def beta_binomial(counts: NDArray[np.int64], k: int) -> list[Interval]:
    """Equal tails of the posterior mean of beta-binomial problems, with flat priors, on a grid (after Bowyer et al. 2025)."""
    angles = (np.arange(240) + 0.5) / 240 * np.pi / 2
    mean, correlation = np.sin(angles)[:, None] ** 2, (np.arange(24) + 0.5) / 24
    first, second = mean * (1 / correlation - 1), (1 - mean) * (1 / correlation - 1)
    right = np.arange(k + 1)[:, None, None]
    logs = (special.betaln(first + right, second + k - right) - special.betaln(first, second)).reshape(k + 1, -1)
    edges = np.sin(np.arange(241) / 240 * np.pi / 2) ** 2
    found = []
    for row in counts:
        fit = np.bincount(row, minlength=k + 1) @ logs
        weights = np.exp(fit - fit.max()).reshape(240, 24).sum(axis=1) * np.sin(2 * angles)
        below = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
        found.append(Interval(*np.interp([0.025, 0.975], below, edges)))
    return found


METHODS: dict[str, Callable[[NDArray[np.int64], int], list[Interval]]] = {
    "dapoctl": weighted,
    "bootstrap": bootstrapped,
    "beta-binomial": beta_binomial,
}


def single(world: World, k: int, sets: int, method: str = "dapoctl") -> Covered:
    """What the intervals of avg@k cover."""
    rng = np.random.default_rng(5)
    counts = rng.binomial(k, world.shares(rng, (sets, PROBLEMS)))
    return covered(METHODS[method](counts, k), world.mean)


@dataclass(frozen=True)
class Paired:
    """What two sides that differ by `effect` show."""

    effect: float
    significant: float
    """Share of the pairs with p < 0.05"""
    covered: Covered
    contradictions: int
    """Pairs in which the interval contains 0 and p < 0.05, or the reverse"""


def paired(world: World, k: int, shift: float, sets: int) -> Paired:
    """What differences cover, and how often the test rejects."""
    rng = np.random.default_rng(6)
    share = world.shares(rng, (sets, PROBLEMS))
    apart = rng.binomial(k, shifted(share, shift)) - rng.binomial(k, share)
    significant = sign_flips(apart) < ALPHA
    raw = _in_blocks(difference_intervals, apart / k, k)
    means = apart.mean(axis=1) / k
    printed = [
        agreeing(interval, float(mean), bool(rejected))
        for interval, mean, rejected in zip(raw, means, significant, strict=True)
    ]
    outside = np.array([interval.low > 0 or interval.high < 0 for interval in printed])
    truth = world.effect(shift)
    return Paired(truth, float(significant.mean()), covered(printed, truth), int((outside != significant).sum()))


def ablated(world: World, k: int, seeds: int, shift: float, sets: int) -> Covered:
    """What the intervals of `dapoctl ablation` cover, for arms of some seeds that move the log-odds of all problems."""
    rng = np.random.default_rng(10)
    truth = _moved(world.shares(np.random.default_rng(1), (MANY,)), shift, np.random.default_rng(2), (MANY,))
    truth -= _moved(world.shares(np.random.default_rng(1), (MANY,)), 0.0, np.random.default_rng(2), (MANY,))
    share = world.shares(rng, (sets, 1, PROBLEMS))
    arms = [rng.binomial(k, _moved(share, by, rng, (sets, seeds, 1))) / k for by in (0.0, shift)]
    found = [effect(ours, theirs, k, DRAWS).interval for ours, theirs in zip(*arms, strict=True)]
    return covered(found, float(truth.mean()))


def _moved(share: Array, shift: float, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """Chances of which the log-odds are moved by `shift`, and by normal noise of this size."""
    with np.errstate(divide="ignore"):
        moved: Array = special.expit(special.logit(share) + shift + rng.normal(0, SEEDS_MOVE, size))
    return moved


def true_detectable(world: World, k: int, pairs: int) -> float:
    """The difference that the test finds with 80% power in this world; not-a-number if there is none."""
    rng = np.random.default_rng(7)
    share = world.shares(rng, (pairs, PROBLEMS))
    ours = rng.binomial(k, share)

    def power(shift: float) -> float:
        return float((sign_flips(np.random.default_rng(8).binomial(k, shifted(share, shift)) - ours) < ALPHA).mean())

    least, most = 0.0, 1.0
    while power(most) < POWER:
        if most >= 64:
            return math.nan
        least, most = most, 2 * most
    for _ in range(8):
        middle = (least + most) / 2
        least, most = (middle, most) if power(middle) < POWER else (least, middle)
    return world.effect(most)


def said_detectable(world: World, k: int, sets: int) -> Array:
    """The minimum detectable effects that are printed for so many sets of problems."""
    rng = np.random.default_rng(9)
    counts = rng.binomial(k, world.shares(rng, (sets, PROBLEMS)))
    return np.array([minimal_detectable(row, k) for row in counts])


def lines(sets: int, said: int) -> Iterator[str]:
    """The four tables, in Markdown."""
    yield f"avg@k of {PROBLEMS} problems, {sets:,} sets: covered % (truth above / below the interval), mean width in points"
    yield f"| world | mean | k | {' | '.join(METHODS)} |"
    yield "|---|---|---|" + "---|" * len(METHODS)
    for world in WORLDS:
        for k in KS:
            cells = [_cell(single(world, k, sets, method)) for method in METHODS]
            yield f"| {world.shape} | {world.mean:.0%} | {k} | {' | '.join(cells)} |"
    yield ""
    yield "Paired differences: p < 0.05 in %, covered by the interval %, contradictions of interval and p"
    yield "| world | mean | k | difference | p < 0.05 | covered, width | contradictions |"
    yield "|---|---|---|---|---|---|---|"
    for world in WORLDS:
        for k in KS:
            for shift in SHIFTS:
                found = paired(world, k, shift, sets)
                yield (
                    f"| {world.shape} | {world.mean:.0%} | {k} | {100 * found.effect:.1f} | {100 * found.significant:.1f}"
                    f" | {_cell(found.covered)} | {found.contradictions} |"
                )
    yield ""
    yield f"Ablation, seeds that move the log-odds by {SEEDS_MOVE}: covered by the interval of a difference %"
    yield f"| world | mean | k | log-odds | {' | '.join(f'{seeds} seeds' for seeds in SEEDS)} |"
    yield "|---|---|---|---|" + "---|" * len(SEEDS)
    for world in WORLDS:
        for k in KS:
            for shift in SHIFTS:
                cells = [_cell(ablated(world, k, seeds, shift, max(1, sets // 2))) for seeds in SEEDS]
                yield f"| {world.shape} | {world.mean:.0%} | {k} | {shift} | {' | '.join(cells)} |"
    yield ""
    yield f"Minimum detectable effect in points: true at 80% power; printed for {said} sets: median, 10 and 90%, none"
    yield "| world | mean | k | true | printed | median / true |"
    yield "|---|---|---|---|---|---|"
    for world in WORLDS:
        for k in KS:
            truth, printed = true_detectable(world, k, 2 * sets), said_detectable(world, k, said)
            low, median, high = np.nanquantile(printed, [0.1, 0.5, 0.9])
            yield (
                f"| {world.shape} | {world.mean:.0%} | {k} | {100 * truth:.1f} | {100 * median:.1f}"
                f" ({100 * low:.1f} to {100 * high:.1f}), {np.isnan(printed).sum()} none | {median / truth:.2f} |"
            )


def _cell(found: Covered) -> str:
    return f"{100 * found.within:.1f} ({100 * found.above:.1f}/{100 * found.below:.1f}) w{100 * found.width:.1f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000, help="simulated sets of problems for each cell (1000)")
    parser.add_argument(
        "--said", type=int, default=25, help="of these, sets whose minimum detectable effect is computed (25)"
    )
    arguments = parser.parse_args()
    for line in lines(arguments.sets, arguments.said):
        print(line, flush=True)


if __name__ == "__main__":
    main()
