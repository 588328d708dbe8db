"""The completion probe: does a model, given the beginning of a question, write the rest of it?

A question that was in the pretraining data is often completed word for word; one that was not almost never is (Wu et al. 2025,
arXiv:2507.10532: 54.6% of MATH-500 at a share of 60% for Qwen2.5-Math-7B, 3.8% for Llama 3.1 8B, 0% for sets that are newer
than the model). Greedy, without the chat template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dapoctl.engines import Sampling
from dapoctl.errors import DataError
from dapoctl.evaluation.engine import start_engine
from dapoctl.tasks.problem_sets import question_of

if TYPE_CHECKING:
    from dapoctl.batch import Problem
    from dapoctl.evaluation.target import Target

SHARE = 0.6
"""Of a question's words that are given"""
LEAST = 8
"""Words that the rest must have: fewer can be guessed"""
BLOCK = 32
"""Questions that are sampled at once, between two reports of progress"""
_SPARE = 8
"""Tokens beyond those of the rest, which the model may cut otherwise"""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a model made of the beginning of a question."""

    problem: str
    rest: str
    written: str
    """As many words as the rest has"""

    @property
    def exact(self) -> bool:
        """Word for word, white space aside."""
        return self.written.split() == self.rest.split()

    @property
    def rouge_l(self) -> float:
        """ROUGE-L, the F-measure of the longest common subsequence of words (Lin 2004), as the package `rouge-score` has it."""
        return rouge_l(self.rest, self.written)


@dataclass(frozen=True, slots=True)
class Probe:
    """The probe of a model on a set."""

    completed: Sequence[Completed]
    left_out: int
    """Problems whose rest is too short to say anything, or that are too long for the model"""

    @property
    def exact(self) -> list[str]:
        """The problems that were completed word for word."""
        return [each.problem for each in self.completed if each.exact]

    @property
    def rouge_l(self) -> float:
        """Its mean."""
        return sum(each.rouge_l for each in self.completed) / len(self.completed)


def cut(text: str, share: float) -> tuple[str, str]:
    """(the first `share` of the words, the rest with the white space before it)."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    end = ends[max(1, round(share * len(ends))) - 1] if ends else 0
    return text[:end], text[end:]


def probe(target: Target, problems: Sequence[Problem], share: float, tell: Callable[[int, int], None]) -> Probe:
    """Give the model the beginning of each question, and compare what it writes with the rest.

    Args:
        share: of a question's words that are given
        tell: (questions done, all)

    Raises:
        DataError: no question is long enough.
        DapoctlError: the model or the engine is not available.
    """
    from dapoctl.models.loading import load_policy

    parts = [(problem.id, *cut(question_of(problem), share)) for problem in problems]
    asked = [part for part in parts if len(part[2].split()) >= LEAST]
    if not asked:
        raise DataError(
            f"none of the {len(parts)} questions has {LEAST} words after the first {share:.0%}: give a smaller --share, or"
            " another set"
        )
    policy = load_policy(target.config, target.weights)
    encoded = [
        (name, rest, policy.encode_text(given), len(policy.encode_text(rest)) + _SPARE) for name, given, rest in asked
    ]
    fitting = [each for each in encoded if len(each[2]) + each[3] <= policy.max_positions]
    if not fitting:
        raise DataError(f"no question fits the {policy.max_positions} positions of the model `{target.model}`")
    # Those with a short rest end early, and together.
    fitting.sort(key=lambda each: each[3])
    longest = max(len(ids) for _, _, ids, _ in fitting)
    engine = start_engine(target.config, policy, longest, fitting[-1][3])
    completed = []
    try:
        for start in range(0, len(fitting), BLOCK):
            tell(start, len(fitting))
            block = fitting[start : start + BLOCK]
            sampling = Sampling(block[-1][3], 0.0, 1.0, 0)
            answers = engine.generate([ids for _, _, ids, _ in block], sampling, 1)
            for (name, rest, *_), (completion,) in zip(block, answers, strict=True):
                words = policy.decode(completion.token_ids).split()[: len(rest.split())]
                completed.append(Completed(name, rest.strip(), " ".join(words)))
        tell(len(fitting), len(fitting))
    finally:
        engine.close()
    return Probe(completed, len(parts) - len(completed))


def rouge_l(reference: str, written: str) -> float:
    """The F-measure of the longest common subsequence of lower-case words and numbers."""
    one, other = (re.findall(r"[a-z0-9]+", text.lower()) for text in (reference, written))
    longest = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for index, candidate in enumerate(other, 1):
            above = longest[index]
            longest[index] = before + 1 if word == candidate else max(above, longest[index - 1])
            before = above
    return 2 * longest[-1] / (len(one) + len(other)) if one or other else 0.0
