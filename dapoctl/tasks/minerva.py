"""The rule of the public DAPO scorer (arXiv:2503.14476; verl's `math_dapo`), kept to the letter, its oddities included.

Of the last 300 characters, the last `Answer: ...` line counts. Answer and ground truth are normalised as Minerva does
(Lewkowycz et al. 2022, arXiv:2206.14858, appendix D.1) and compared as text. So `**Answer:** 540`, `540.`, `\\(540\\)` and
`033` against `33` are wrong, and `540 or 541=540` is right, because only what follows the last `=` is compared.

That is the rule as of January 2026. By August 2026 verl's had a second part, for responses without an answer line: `box_of`.
"""

from __future__ import annotations

import re
from functools import lru_cache

TAIL = 300
"""Characters at the end of a response that are searched."""
BOX_TAIL = 100
"""Characters at the end of a response in which a box may begin."""

_ANSWER = re.compile(r"(?i)Answer\s*:\s*([^\n]+)")
_REPLACED = (
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
)
_REMOVED = (
    *(  # noqa: SIM905 - one word a line is harder to compare
        "square ways integers dollars mph inches hours km units \\ldots sue points feet minutes digits cents degrees cm gm "
        "pounds meters meals edges students childrentickets multiples"
    ).split(),
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    "\\mathrm{th}",
    "^\\circ",
    "^{\\circ}",
    "\\;",
    ",\\!",
    "{,}",
    '"',
    "\\dots",
)
_REWRITTEN = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(.*?)(\$)(.*?)(\$)(.*)", r"$\3$"),
        (r"(\\text\{)(.*?)(\})", r"\2"),
        (r"(\\textbf\{)(.*?)(\})", r"\2"),
        (r"(\\overline\{)(.*?)(\})", r"\2"),
        (r"(\\boxed\{)(.*)(\})", r"\2"),
        (r"(frac)([^{])(.)", r"frac{\2}{\3}"),
        (r"(sqrt)([^{])", r"sqrt{\2}"),
    )
)


def answer_of(text: str) -> str | None:
    """What the response's last answer line says, unchanged; None if there is no such line."""
    answers = _ANSWER.findall(text[-TAIL:])
    return answers[-1] if answers else None


def box_of(text: str) -> str | None:
    """What the last `\\boxed{...}` of the last `BOX_TAIL` characters holds, unchanged; None if it is not there or not closed.

    Braces are counted without regard to escapes, as there.
    """
    tail = text[-BOX_TAIL:]
    start = tail.rfind("\\boxed{")
    depth = 0
    for place in range(start, len(tail)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(tail[place], 0)
        if depth == 0 and tail[place] == "}":
            return tail[start + len("\\boxed{") : place]
    return None


@lru_cache(maxsize=4096)
def normal_form(answer: str) -> str:
    """`answer` in Minerva's normal form."""
    answer = answer.rpartition("=")[2]
    for before, after in _REPLACED:
        answer = answer.replace(before, after)
    for removed in _REMOVED:
        answer = answer.replace(removed, "")
    for pattern, replacement in _REWRITTEN:
        answer = pattern.sub(replacement, answer)
    answer = answer.replace("$", "")
    digits = answer.replace(",", "")
    return (digits if digits.isdigit() else answer).strip()
