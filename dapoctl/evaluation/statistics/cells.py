"""Effects of a designed experiment: means of its cells and contrasts between them, with one variance for all seeds.

The value of the run of cell c with seed s is taken to be

    y[c, s] = mean[c] + block[s] + e,    e ~ N(0, variance)

without the blocks where runs of one seed are not treated as a pair. It is fitted by least squares, so cells need not have
equally many seeds (Montgomery, Design and Analysis of Experiments, chapters 3 to 6). The variance is pooled over all cells: a
cell of three seeds knows its own to a factor of six, and 16 such cells know theirs to a third.

What is said holds for other training seeds with the same problems. It says nothing about other problems.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dapoctl.evaluation.statistics.intervals import TAIL, Interval, student_cdf, student_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 1e-9
"""Relative size of what is 0 but for rounding"""


@dataclass(frozen=True)
class Estimate:
    """A figure with its standard error and degrees of freedom; not-a-number where the error cannot be known."""

    value: float
    error: float
    freedom: float

    def interval(self, tail: float = TAIL) -> Interval:
        """Student's interval with probability `tail` outside at either end."""
        half = student_quantile(1 - tail, self.freedom) * self.error if self.freedom > 0 else math.nan
        return Interval(self.value - half, self.value + half)

    @property
    def p(self) -> float:
        """Two-sided, of the hypothesis that it is 0."""
        if not (self.freedom > 0 and math.isfinite(self.error)):
            return math.nan
        if self.error == 0:
            return float(self.value == 0)
        return 2 * student_cdf(-abs(self.value) / self.error, self.freedom)


class CellMeans:
    """The fitted means of the cells."""

    def __init__(self, rows: Iterable[tuple[str, Hashable, float]], paired: bool = False) -> None:
        """Fit them.

        Args:
            rows: (cell, seed, value) of each run
            paired: whether runs of one seed share a block, so that what they have in common cancels
        """
        self.rows = [row for row in rows if math.isfinite(row[2])]
        self.cells = list(dict.fromkeys(cell for cell, _, _ in self.rows))
        self.paired = paired
        self._place = {cell: place for place, cell in enumerate(self.cells)}
        values = np.array([value for _, _, value in self.rows])
        design = self._design()
        self._inverse = np.linalg.pinv(design.T @ design)
        self._spanned = np.linalg.pinv(design) @ design
        coefficients = self._inverse @ design.T @ values
        self._coefficients = coefficients
        self.freedom = len(values) - (int(np.linalg.matrix_rank(design)) if len(values) else 0)
        """Of the pooled variance"""
        residual = values - design @ coefficients
        square = float(residual @ residual)
        if square < (SMALL * float(np.abs(values).max(initial=0.0))) ** 2:
            square = 0.0
        self.deviation = math.sqrt(square / self.freedom) if self.freedom > 0 else math.nan
        """Standard deviation of a cell's runs, pooled"""

    def _design(self) -> NDArray[np.float64]:
        seeds = list(dict.fromkeys(seed for _, seed, _ in self.rows)) if self.paired else []
        place = {seed: len(self.cells) + index for index, seed in enumerate(seeds)}
        design = np.zeros((len(self.rows), len(self.cells) + len(seeds)))
        for index, (cell, seed, _) in enumerate(self.rows):
            design[index, self._place[cell]] = 1
            if self.paired:
                design[index, place[seed]] = 1
        return design

    def count(self, cell: str) -> int:
        """Runs of a cell."""
        return sum(found == cell for found, _, _ in self.rows)

    def deviation_interval(self, tail: float = TAIL) -> Interval:
        """The interval of `deviation`, by the chi-square distribution."""
        from scipy.special import chdtri

        if not self.freedom > 0:
            return Interval(math.nan, math.nan)
        square = self.freedom * self.deviation**2
        low, high = (square / float(chdtri(self.freedom, level)) for level in (tail, 1 - tail))
        return Interval(math.sqrt(low), math.sqrt(high))

    def mean(self, cell: str) -> Estimate:
        """The mean of a cell over its runs, with the pooled variance; blocks play no part in it."""
        values = [value for found, _, value in self.rows if found == cell]
        if not values:
            return Estimate(math.nan, math.nan, self.freedom)
        return Estimate(math.fsum(values) / len(values), self.deviation / math.sqrt(len(values)), self.freedom)

    def contrast(self, weights: Mapping[str, float]) -> Estimate:
        """The sum of weight times mean over cells; not-a-number where a cell has no run, or the runs do not tell it.

        Args:
            weights: by cell; they sum to 0
        """
        unknown = Estimate(math.nan, math.nan, self.freedom)
        if any(cell not in self._place for cell, weight in weights.items() if weight):
            return unknown
        vector = np.zeros(len(self._coefficients))
        for cell, weight in weights.items():
            if weight:
                vector[self._place[cell]] = weight
        if not np.allclose(vector @ self._spanned, vector, atol=1e-8):
            return unknown
        error = self.deviation * math.sqrt(max(0.0, float(vector @ self._inverse @ vector)))
        return Estimate(float(vector @ self._coefficients), error, self.freedom)
