"""What may be said of a difference: better, worse, equivalent, or that nothing was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from dapoctl.evaluation.statistics.cells import Estimate
from dapoctl.evaluation.statistics.intervals import TAIL

LEVEL = 2 * TAIL
"""p below which a difference is significant; the level of each one-sided test of equivalence"""


class Word(StrEnum):
    """The verdict."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NOT_SEEN = "not seen"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """A word and the margin that it is about."""

    word: Word
    margin: float = 0.0
    """For `equivalent`, and for a significant difference that is smaller than what is worth knowing; else 0"""

    def __str__(self) -> str:
        if not self.margin:
            return str(self.word)
        within = f"within ±{self.margin:g}"
        return f"{self.word} {within}" if self.word is Word.EQUIVALENT else f"{self.word}, but {within}"


def judge(estimate: Estimate, p: float, smallest: float, higher_is_better: bool = True) -> Verdict:
    """The verdict on a difference.

    Equivalence is told by two one-sided tests (Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15), each at 5%: the
    90% interval lies within the margin. It is never concluded from a lack of significance.

    Args:
        estimate: of the difference
        p: of its test, adjusted for others of its family
        smallest: the smallest difference worth knowing, the margin of equivalence; 0 for none
        higher_is_better: whether a positive difference is good
    """
    if math.isnan(p):
        return Verdict(Word.UNKNOWN)
    inside = False
    if smallest > 0:
        narrow = estimate.interval(LEVEL)
        inside = -smallest < narrow.low and narrow.high < smallest
    margin = smallest if inside else 0.0
    if p < LEVEL:
        return Verdict(Word.BETTER if (estimate.value > 0) is higher_is_better else Word.WORSE, margin)
    return Verdict(Word.EQUIVALENT if inside else Word.NOT_SEEN, margin)
