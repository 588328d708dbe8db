"""What two written answers have to share to be one vote of a majority: their value where they are numbers, else their text."""

from __future__ import annotations

import re
from fractions import Fraction

from dapoctl.tasks.answers import clean, integer, without_unit

_DECIMAL = re.compile(r"[+-]?(?:\d{1,40}\.\d{0,40}|\.\d{1,40})", re.ASCII)
_PLAIN = re.compile(r"(?P<sign>[+-]?)(?P<top>\d{1,40})/(?P<bottom>\d{1,40})", re.ASCII)
_LATEX = re.compile(
    r"(?P<sign>[+-]?)\\[dt]?frac(?:\{(?P<top>\d{1,40})\}|(?P<one>\d))(?:\{(?P<bottom>\d{1,40})\}|(?P<other>\d))",
    re.ASCII,
)
_SPACE = re.compile(r"\\[,;:! ]|\s+")


def vote_of(answer: str) -> str:
    """The same string for answers with the same value: `033` and `33`, `1/2`, `0.5`, `.50` and `\\frac12`.

    Other answers are compared as text, without white space and delimiters; nothing is computed.
    """
    text = without_unit(clean(answer))
    if (digits := integer(text)) is not None:
        return digits
    bare = _SPACE.sub("", text)
    value = _number(bare)
    return bare if value is None else str(value)


def _number(text: str) -> Fraction | None:
    if _DECIMAL.fullmatch(text):
        return Fraction(text)
    match = _PLAIN.fullmatch(text) or _LATEX.fullmatch(text)
    if match is None:
        return None
    parts = match.groupdict()
    top, bottom = parts["top"] or parts["one"], parts["bottom"] or parts["other"]
    if int(bottom) == 0:
        return None
    return Fraction(int(top), int(bottom)) * (-1 if parts["sign"] == "-" else 1)
