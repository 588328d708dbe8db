"""Rules that say whether a response answers a math problem: a name stands for the same rule in training and evaluation.

| response to a problem with the answer 540     | `math` | `dapo` | `strict` |
|-----------------------------------------------|--------|--------|----------|
| `Answer: 540` as the last line                | right  | right  | right    |
| `Answer: $\\boxed{540}$`, `x = 540`, `5,40`    | right  | right  | wrong    |
| `Answer: 540 square units`                    | right  | right  | wrong    |
| `Answer: 540.`, `\\(540\\)`, `Answer: 0540`     | right  | wrong  | wrong    |
| `**Answer:** 540`, `**Answer: 540**`          | right  | wrong  | unanswered |
| `\\boxed{540}`, `it is 540` without `Answer:`  | right  | unanswered | unanswered |
| `Answer: 540`, then other lines               | right  | right within 300 characters | unanswered |
| `Answer: 541`, then `Answer: 540`             | right  | right  | wrong    |
| `Answer: 540 or 541=540`                      | wrong  | right  | wrong    |
| `Answer: \\frac{1080}{2}`                      | right  | wrong  | wrong    |
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dapoctl.errors import ConfigError, nearest
from dapoctl.tasks import minerva
from dapoctl.tasks.verify import Verdict, Verifier

SHOWN = 200
"""Characters of an extracted answer that are kept."""
ASKED_FORM = "Answer: "
"""What `strict` wants the last line to begin with, once in the whole response."""
_LABEL = re.compile(r"answer\s*:", re.IGNORECASE)


class Scorer(Protocol):
    """Judges responses, from any thread."""

    def verify(self, text: str, gold: str) -> Verdict:
        """The verdict on a whole response; `gold` is the problem's answer."""
        ...

    def close(self) -> None:
        """Release processes; a later verdict that needs them is "error"."""
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """A scorer that compares text alone: no process, no time limit needed."""

    judge: Callable[[str, str], Verdict]

    def verify(self, text: str, gold: str) -> Verdict:
        """See `Scorer`."""
        return self.judge(text, gold)

    def close(self) -> None:
        """Nothing to release."""


def public(text: str, gold: str) -> Verdict:
    """The public DAPO scorer's verdict, for parity with published figures; see `minerva`.

    It calls a response without an answer line wrong; here that is "unanswered", which is not correct either.
    """
    answer = minerva.answer_of(text)
    if answer is None:
        return Verdict("unanswered")
    normalised = minerva.normal_form(answer)
    return Verdict("right" if normalised == minerva.normal_form(gold) else "wrong", normalised[:SHOWN])


def strict(text: str, gold: str) -> Verdict:
    """Right only for a single answer, on the last line, in the asked form, equal to `gold` character by character.

    - The last line that is not blank begins with `Answer: `, without Markdown or anything else before it; otherwise the
      response is unanswered.
    - It is the only place in the response with that label, in any case; a response with two answers is wrong.
    - What follows, without white space at its ends, is the text of `gold`: no `$`, no `\\boxed`, no unit, no full stop, no
      leading zeros, no other way of writing the number.
    """
    *_, last = text.rstrip().splitlines() or [""]
    if not last.startswith(ASKED_FORM):
        return Verdict("unanswered")
    answer = last.removeprefix(ASKED_FORM).strip()
    right = answer == gold.strip() and len(_LABEL.findall(text)) == 1
    return Verdict("right" if right else "wrong", answer[:SHOWN])


SCORERS = {
    "math": "the final answer by its mathematical meaning, through math-verify",
    "dapo": "the public DAPO scorer's rule, for parity",
    "strict": "a single answer, on the last line, in the asked form, character by character",
}
"""What each scorer does, by name"""


def check_scorer(name: str) -> str:
    """`name`, if it is the name of a scorer.

    Raises:
        ConfigError: it is not; with the nearest name.
    """
    if name not in SCORERS:
        raise ConfigError(f"unknown scorer `{name}`.{nearest(name, [*SCORERS])} Known: {', '.join(SCORERS)}")
    return name


def build_scorer(name: str, workers: int, limit_s: float) -> Scorer:
    """The scorer called `name`; `workers` processes with `limit_s` seconds per answer, if it needs any.

    Raises:
        ConfigError: there is no such scorer.
    """
    rules = dict(zip(SCORERS, (None, Rule(public), Rule(strict)), strict=True))
    return rules[check_scorer(name)] or Verifier(workers, limit_s)
