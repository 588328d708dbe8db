"""`\\boxed{...}` and `\\fbox{...}` in a text."""

from __future__ import annotations

import re

from dapoctl.tasks.answers import close

MOST = 24
"""Boxes from the end that are looked at"""
_BOX = re.compile(r"\\{1,2}(?:boxed|fbox|framebox)\s{0,2}(?:\{|(?=[^\s{}]))")
# What may stand between two boxes that are one answer: `\\boxed{1}, \\boxed{2} and $y = \\boxed{3}$`.
_BETWEEN = re.compile(
    r"(?:\s|[$,;&]|\\[()\[\],;:! ]|\\quad|\\qquad|\\text\{[^{}\d]{0,24}\b(?:and|or)\s*\}|(?:[a-z]{2,16} )?\b(?:and|or)\b"
    r"|[A-Za-z](?:_\w|_\{\w{1,4}\})?\s*=)*"
)


def spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of the closed boxes among the last `MOST`, in order; of nested ones the outer."""
    found: list[tuple[int, int, str]] = []
    for match in list(_BOX.finditer(text))[-MOST:]:
        if found and match.start() < found[-1][1]:
            continue
        if match[0].endswith("{"):
            end = close(text, match.end())
            if end is not None:
                found.append((match.start(), end + 1, text[match.end() : end]))
        else:
            found.append((match.start(), match.end() + 1, text[match.end()]))
    return found


def boxed(text: str) -> list[str]:
    """What the last box says, and those before it that only a comma or `and` divides from it; in order."""
    found = [box for box in spans(text) if box[2].strip()]
    first = max(0, len(found) - 1)
    while first > 0 and _BETWEEN.fullmatch(text[found[first - 1][1] : found[first][0]]):
        first -= 1
    return [content for _, _, content in found[first:]]
