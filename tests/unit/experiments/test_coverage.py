"""Intervals, tests and minimum detectable effects in simulated worlds whose truth is known; the whole table is the bench's."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from experiments.bench.coverage import (
    KS,
    MEANS,
    METHODS,
    SEEDS,
    WORLDS,
    Covered,
    World,
    ablated,
    lines,
    paired,
    said_detectable,
    single,
    true_detectable,
)


@functools.cache
def result(world: World, k: int, method: str) -> Covered:
    return single(world, k, 300, method)


CELLS = [pytest.param(world, k, id=f"{world.shape}-{world.mean}-{k}") for world in WORLDS for k in KS]


@pytest.mark.parametrize(("world", "k"), CELLS)
def test_intervals_cover_and_are_narrow(world: World, k: int) -> None:
    """At least 93%, and at most 1.25 times the width of the narrowest method that does for this shape and k."""
    found = result(world, k, "dapoctl")
    assert found.within >= 0.93, found
    good = [name for name in METHODS if all(result(World(world.shape, mean), k, name).within >= 0.93 for mean in MEANS)]
    assert found.width <= 1.25 * min(result(world, k, name).width for name in good), good


def test_the_worlds_tell_methods_apart() -> None:
    """Resampling misses low means, and the beta-binomial model misses what is not beta-distributed."""
    assert single(World("beta", 0.02), 32, 300, "bootstrap").within < 0.85
    assert single(World("beta", 0.06), 4, 300, "bootstrap").within < 0.92
    assert single(World("spike", 0.5), 32, 300, "beta-binomial").within < 0.85


@pytest.mark.parametrize(("world", "k"), CELLS)
def test_differences_cover_and_never_contradict_p(world: World, k: int) -> None:
    for shift in (0.0, 1.5):
        found = paired(world, k, shift, 300)
        assert found.covered.within >= 0.93, found
        assert found.contradictions == 0
        assert shift or found.significant < 0.08


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(("shape", "mean", "k"), [("beta", 0.02, 32), ("spike", 0.06, 4), ("beta", 0.5, 4)])
def test_differences_over_seeds_cover(shape: str, mean: float, k: int, seeds: int) -> None:
    """Student's t alone covers 79 to 83% of the first where the sides differ."""
    assert ablated(World(shape, mean), k, seeds, 0.7, 200).within >= 0.93


@pytest.mark.parametrize(
    ("shape", "mean", "k"), [("beta", 0.02, 4), ("beta", 0.15, 32), ("spike", 0.15, 4), ("spike", 0.5, 32)]
)
def test_the_minimum_detectable_effect_is_that_of_the_test(shape: str, mean: float, k: int) -> None:
    world = World(shape, mean)
    truth, said = true_detectable(world, k, 500), said_detectable(world, k, 7)
    assert 1 / 1.3 < np.median(said) / truth < 1.3, (truth, said)


def test_the_command_prints_four_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.bench.coverage.WORLDS", [World("beta", 0.5)])
    monkeypatch.setattr("experiments.bench.coverage.KS", (1,))
    printed = [*lines(20, 1)]
    assert sum(line.startswith("| beta | 50% | 1 |") for line in printed) == 8
    assert not any("nan" in line for line in printed)
