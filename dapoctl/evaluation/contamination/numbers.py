"""The numbers of a question, in digits and in words, and the question with others in their place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

_TO_NINETEEN = (  # noqa: SIM905 - thirty quoted words are harder to read
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
    " nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
WORDS = {word: number for number, word in enumerate(_TO_NINETEEN) if number > 1} | {
    word: 10 * number for number, word in enumerate(_TENS, 2)
}
"""Numbers that are written as one word. `one` is left out: it is a pronoun as often."""
_BY_VALUE = {value: word for word, value in WORDS.items()}
_NUMBER = re.compile(
    rf"(?<![\w./:,-])(?:(?P<digits>\d{{1,3}}(?:,\d{{3}}){{1,4}}(?:\.\d{{1,9}})?|\d{{1,15}}(?:\.\d{{1,9}})?|\.\d{{1,9}})(?![\w/:-]|[.,]\d)|(?P<word>{'|'.join(WORDS)})(?![\w-]))",
    re.IGNORECASE,
)
_ANY = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_IMPLIED = {
    2: "half halves twice double doubles doubled both pair pairs couple couples second seconds",
    3: "third thirds triple triples tripled thrice trio",
    4: "fourth fourths quarter quarters quadruple quadrupled quartet",
    5: "fifth fifths nickel nickels weekday weekdays workweek",
    6: "sixth sixths",
    7: "seventh sevenths week weeks weekly",
    8: "eighth eighths",
    9: "ninth ninths",
    10: "tenth tenths dime dimes decade decades",
    12: "dozen dozens month months monthly year years yearly annual annually foot feet inch inches",
    24: "day days daily",
    25: "quarter quarters",
    30: "month months monthly",
    52: "week weeks weekly year years yearly annually",
    60: "minute minutes hour hours hourly second seconds",
    100: "percent cent cents century hundred hundreds",
}
"""Numbers that a word brings into a calculation without being written"""
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Found:
    """A number in a text."""

    start: int
    end: int
    value: Fraction
    word: bool
    percent: bool

    @property
    def places(self) -> int:
        """Digits after the point."""
        scaled, places = self.value, 0
        while scaled.denominator > 1:
            scaled, places = scaled * 10, places + 1
        return places


def numbers(text: str) -> list[Found]:
    """The numbers of a text that stand for themselves, in order: not `3/4`, `5:30`, `4th`, `2-litre` or `x2`."""
    found = []
    for match in _NUMBER.finditer(text):
        value = (
            Fraction(match["digits"].replace(",", "")) if match["digits"] else Fraction(WORDS[match["word"].lower()])
        )
        percent = re.match(r" ?(%|percent)", text[match.end() :]) is not None
        found.append(Found(match.start(), match.end(), value, match["word"] is not None, percent))
    return found


def implied(text: str) -> set[Fraction]:
    """Numbers that a text brings into a calculation in another way: by its words, and in parts such as `3/4` and `4th`."""
    words = {*_WORD.findall(text.lower())}
    found = {Fraction(value) for value, names in _IMPLIED.items() if words & {*names.split()}}
    if "%" in text:
        found.add(Fraction(100))
    # What is left of 80%.
    found |= {100 - each.value for each in numbers(text) if each.percent}
    spans = {(each.start, each.end) for each in numbers(text)}
    rest = "".join(character for at, character in enumerate(text) if not any(start <= at < end for start, end in spans))
    for whole in re.findall(r"[\w./:,-]*\d[\w./:,-]*", rest):
        found |= {Fraction(part) for part in _ANY.findall(whole)}
    for whole in re.findall(r"[a-z]+(?:-[a-z]+)+", text.lower()):
        found |= {Fraction(WORDS[part]) for part in whole.split("-") if part in WORDS}
    return found


def rewritten(text: str, new: Mapping[Fraction, Fraction]) -> str:
    """`text` with every number of `new` replaced, written as the old one was: in words, with commas, with as many decimals.

    Raises:
        KeyError: a number that is a word has no word as its new value.
    """
    parts, end = [], 0
    for each in numbers(text):
        value = new.get(each.value)
        if value is None:
            continue
        old = text[each.start : each.end]
        parts += [text[end : each.start], _written(each, value, old)]
        end = each.end
    return "".join([*parts, text[end:]])


def _written(each: Found, value: Fraction, old: str) -> str:
    if each.word:
        word = _BY_VALUE[int(value)]
        return word.upper() if old.isupper() else word.capitalize() if old[0].isupper() else word
    places = len(old.partition(".")[2])
    comma = "," if "," in old else ""
    return f"{float(value):{comma}.{places}f}" if places else f"{int(value):{comma}}"
