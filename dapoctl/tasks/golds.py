"""Answers of a problem set that no scorer can read, told when the data is loaded."""

from __future__ import annotations

import re

from dapoctl.tasks import answers, forms, markers

MOST_WORDS = 8
"""Words of an answer in prose, at most; of a longer one no response gives the same"""
_PLACEHOLDER = re.compile(
    r"(?:see|cf\.?) (?:the )?(?:solution|explanation|above|below|figure|diagram|proof|text)\b.*|n/?a\.?|none given|no answer"
    r"|not available|unknown|tbd|todo|null|nan|undefined|\?+|-+|proof(?: .*)?",
    re.IGNORECASE,
)
_TIME = re.compile(r"\d{1,2}:0\d(?:\s?[ap]\.?m\.?)?", re.IGNORECASE)
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textbf|textit)\s?\{[^{}]*\}")
_PAIRS = ((r"\\left(?![A-Za-z])", r"\\right(?![A-Za-z])"), (r"\\begin\b", r"\\end\b"), (r"(?<!\\)\{", r"(?<!\\)\}"))
_LACKS_ARGUMENT = re.compile(r"\\(?:frac|sqrt|dfrac|tfrac)\s*(?:\}|$)|\\frac\s*\{[^{}]*\}\s*(?:[,;)\]=]|$)")


def unreadable(gold: str) -> str:
    """Why `math` can at most compare an answer as text; empty if it reads it."""
    answer = markers.of_gold(gold)
    if not answer:
        return "nothing but layout"
    if answers.integer(answer) is not None:
        return ""
    if _PLACEHOLDER.fullmatch(answer.strip()):
        return "not an answer"
    for start, end in _PAIRS:
        if len(re.findall(start, answer)) != len(re.findall(end, answer)):
            return "broken LaTeX"
    if _LACKS_ARGUMENT.search(answer) or answer.replace("\\$", "").count("$") % 2:
        return "broken LaTeX"
    if _TIME.fullmatch(forms.normal(answer)):
        return "a time: compared as text"
    prose = re.findall(
        r"[^\W\d_]{2,}", re.sub(r"\\[A-Za-z]+", " ", answer if not _TEXT.fullmatch(answer) else answer[6:-1])
    )
    return "a sentence: compared as text" if len(prose) > MOST_WORDS else ""
