"""Rules that say whether a response answers a math problem: a name stands for the same rule in training and evaluation.

| response to a problem with the answer 540     | `math` | `dapo` | `strict` |
|-----------------------------------------------|--------|--------|----------|
| `Answer: 540` as the last line                | right  | right  | right    |
| `Answer: $\\boxed{540}$`, `x = 540`, `5,40`    | right  | right  | wrong    |
| `Answer: 540 square units`                    | right  | right  | wrong    |
| `Answer: The area is 540.`                    | right  | wrong  | wrong    |
| `Answer: 540.`, `\\(540\\)`, `Answer: 0540`     | right  | wrong  | wrong    |
| `**Answer:** 540`, `**Answer: 540**`          | right  | wrong  | unanswered |
| `\\boxed{540}`, `the answer is 540`, `540`     | right  | unanswered | unanswered |
| `it is 540`, without a mark                   | unanswered | unanswered | unanswered |
| `Answer: 540`, then other lines               | right  | right within 300 characters | unanswered |
| `Answer: 541`, then `Answer: 540`             | right  | right  | wrong    |
| `Answer: 540 or 541=540`                      | wrong  | right  | wrong    |
| `Answer: \\frac{1080}{2}`                      | right  | wrong  | wrong    |
| the same, where the question has that formula | wrong  | wrong  | wrong    |

`math_lenient` is `math` as it was first: without a mark it takes what math-verify finds last in the text, `it is 540` and a
number at which a response was cut off. It is there to repeat earlier results. `dapo_boxed` is `dapo` with verl's later
fallback to a box.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dapoctl.errors import ConfigError, nearest
from dapoctl.tasks import minerva
from dapoctl.tasks.meaning import Meaning
from dapoctl.tasks.verify import SHOWN, Verdict, Verifier

ASKED_FORM = "Answer: "
"""What `strict` wants the last line to begin with, once in the whole response."""
_LABEL = re.compile(r"answer\s*:", re.IGNORECASE)


class Scorer(Protocol):
    """Judges responses, from any thread."""

    def verify(self, text: str, gold: str, question: str = "") -> Verdict:
        """The verdict on a whole response; `gold` is the problem's answer, `question` its text, if known."""
        ...

    def close(self) -> None:
        """Release processes; a later verdict that needs them is "error"."""
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """A scorer that compares text alone: no process, no time limit needed."""

    judge: Callable[[str, str], Verdict]

    def verify(self, text: str, gold: str, question: str = "") -> Verdict:  # noqa: ARG002 - the same for any question
        """See `Scorer`."""
        return self.judge(text, gold)

    def close(self) -> None:
        """Nothing to release."""


def public(text: str, gold: str) -> Verdict:
    """The verdict of verl's `math_dapo` as of January 2026, for parity with published figures; see `minerva`.

    It calls a response without an answer line wrong; here that is "unanswered", which is not correct either.
    """
    answer = minerva.answer_of(text)
    if answer is None:
        return Verdict("unanswered", marked=False)
    normalised = minerva.normal_form(answer)
    return Verdict("right" if normalised == minerva.normal_form(gold) else "wrong", normalised[:SHOWN], marked=True)


def public_boxed(text: str, gold: str) -> Verdict:
    """The verdict of verl's `math_dapo` as of August 2026: `public`, and without an answer line the last `\\boxed{...}`
    that begins within the last 100 characters, equal to `gold` character by character.
    """
    verdict = public(text, gold)
    box = minerva.box_of(text) if verdict.extracted in (None, "[INVALID]") else None
    return verdict if box is None else Verdict("right" if box == gold else "wrong", box[:SHOWN], marked=True)


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
        return Verdict("unanswered", marked=False)
    answer = last.removeprefix(ASKED_FORM).strip()
    right = answer == gold.strip() and len(_LABEL.findall(text)) == 1
    return Verdict("right" if right else "wrong", answer[:SHOWN], marked=True)


SCORERS = {
    "math": "the marked final answer by its mathematical meaning, through math-verify",
    "math_lenient": "as `math` was before: an unmarked answer counts, too, and one copied from the question",
    "dapo": "the public DAPO scorer's rule (verl's math_dapo of 2026-01), for parity",
    "dapo_boxed": "verl's math_dapo of 2026-08: as dapo, and without an answer line the box near the end",
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
    pools: list[type[Verifier]] = [Meaning, Verifier]
    rules = [Rule(public), Rule(public_boxed), Rule(strict)]
    place = list(SCORERS).index(check_scorer(name))
    return pools[place](workers, limit_s) if place < len(pools) else rules[place - len(pools)]
