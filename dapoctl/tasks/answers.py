"""The text rules of the scorer `math_lenient`, and those that `math` shares with it: they stay as they are.

The final answer: the last `Answer:` line, else the last `\\boxed{...}`; and the cases that need no computer algebra to decide.
Only the last `TAIL` characters count. Everything here is about linear in the text, so that no response can make it slow.
"""

from __future__ import annotations

import re

TAIL = 3000
"""Characters at the end of a response that are searched; a final answer that starts before them is not found."""

_LABEL = re.compile(r"\banswer[ \t*_]{0,8}[:\uff1a]", re.IGNORECASE)
_EMPTY_LINES = frozenset({"", "\\[", "\\]", "\\(", "\\)", "$", "$$", "```"})
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_BOXED = "\\boxed{"
_THOUSANDS = r"(?:,|\{,\}|\\[,!:; ]|,\\! ?)"
_INTEGER = re.compile(rf"(?P<sign>[+-]?)(?:\\?\$)?(?P<digits>\d{{1,3}}(?:{_THOUSANDS}\d{{3}})+|\d+)", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d*\.\d+", re.ASCII)
_ONE_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z](?:_\w|_\{\w{1,8}\})?\s*=\s*(?P<value>[^=]+)")
_WITH_UNIT = re.compile(
    r"(?P<number>[+-]?(?:\\?\$)?\d[\d,]*(?:\.\d+)?) ?(?P<unit>[A-Za-z]+(?: [A-Za-z]+){0,3})(?:\^\{?[23]\}?)?"
)
NOT_A_UNIT = frozenset(
    (  # noqa: SIM905 - sixty quoted words are harder to read
        "a b c d e i k m n p q r s t x y z pi or and to plus minus times over by is not mod percent percentage pct "
        "hundred hundreds thousand thousands million millions billion billions trillion dozen dozens half halves third "
        "thirds quarter quarters fourth fourths fifth fifths tenth tenths squared cubed factorial choose sqrt base in "
        "than more less about between"
    ).split()
)
"""Words after a number that change its value, and letters that are likelier a variable than a unit."""


def extract(text: str) -> str | None:
    """The final answer as the response writes it, without Markdown and delimiters; None when it marks none."""
    tail = text[-TAIL:]
    labels = list(_LABEL.finditer(tail))
    if labels:
        for line in tail[labels[-1].end() :].split("\n")[:4]:
            if line.strip(" \t\r*_`") not in _EMPTY_LINES:
                return clean(_only_math(line)) or None
    box = _last_box(tail)
    return None if box is None else clean(box) or None


def clean(answer: str) -> str:
    """`answer` without surrounding Markdown, full stops, math delimiters and `\\boxed`."""
    while True:
        before = answer
        answer = answer.strip(" \t\r\n*_`").rstrip(" .,;:*_`")
        for start, end in _WRAPPERS:
            if len(answer) > len(start + end) and answer.startswith(start) and answer.endswith(end):
                inner = answer[len(start) : -len(end)]
                if start[-1] not in inner.replace("\\$", "") or (start[0] == "\\" and start not in inner):
                    answer = inner
        if answer.startswith(_BOXED) and close(answer, len(_BOXED)) == len(answer) - 1:
            answer = answer[len(_BOXED) : -1]
        if answer.replace("\\$", "").count("$") == 1:
            answer = answer.removeprefix("$")
        if answer == before:
            return answer


def integer(answer: str) -> str | None:
    """The digits of a plain integer (`033`, `1,234`, `1{,}234`, `\\$540`) of any length, without leading zeros."""
    match = _INTEGER.fullmatch(answer)
    if match is None:
        return None
    digits = re.sub(r"\D", "", match["digits"]).lstrip("0") or "0"
    return "-" + digits if match["sign"] == "-" and digits != "0" else digits


def decide(answer: str, gold: str) -> bool | None:
    """Whether `answer` equals `gold` if plain text decides it; None if computer algebra has to.

    Both come from `clean`. The same text is right. Where the gold answer is an integer, an integer is compared exactly,
    also after `x =` and before a unit (`540 square units`), and with one misplaced comma (`5,40`); and an equation
    between different integers (`541 = 540`) is wrong.
    """
    if answer == gold:
        return True
    truth = integer(gold)
    if truth is None:
        return None
    numbers = {number for part in answer.split("=") if (number := integer(part.strip())) is not None}
    if len(numbers) > 1:
        return False
    variable = _VARIABLE.fullmatch(answer)
    value = variable["value"].strip() if variable else answer
    number = integer(value.replace(",", "")) if _ONE_COMMA.fullmatch(value) else integer(value)
    return None if number is None else number == truth


def is_number(gold: str) -> bool:
    """Whether `gold` is an integer or a decimal number, so that words after a number can only be its unit."""
    return integer(gold) is not None or _DECIMAL.fullmatch(gold) is not None


def without_unit(answer: str) -> str:
    """`18` for `18 dollars`; `answer` itself if what follows the number may not be a unit (`5 million`, `2 x`)."""
    match = _WITH_UNIT.fullmatch(answer)
    if match is None or any(word.lower() in NOT_A_UNIT for word in match["unit"].split()):
        return answer
    return match["number"]


def _only_math(line: str) -> str:
    """The box or formula of a line whose other words hold no digits; else the line without math delimiters.

    So `the area is $540$` gives its formula, and `$541$ or $540$` stays whole and can only match a gold answer with
    both.
    """
    box = _last_box(line)
    if box is not None and line.count(_BOXED) == 1:
        return box
    bare = line.replace("\\$", "")
    for start, end, count in (("$", "$", 2), ("\\(", "\\)", 1), ("\\[", "\\]", 1)):
        if bare.count(start) == count and bare.count(end) == count and bare == line:
            before, _, rest = line.partition(start)
            formula, _, after = rest.rpartition(end)
            if not any(map(str.isdigit, before + after)):
                return formula
    if bare.count("$") > 2:
        return line.replace("\\$", "").replace("$", " ")
    return line.replace("\\(", " ").replace("\\)", " ") if line.count("\\(") > 1 else line


def _last_box(text: str) -> str | None:
    end = len(text)
    for _ in range(8):
        start = text.rfind(_BOXED, 0, end)
        if start < 0:
            return None
        closed = close(text, start + len(_BOXED))
        if closed is not None:
            return text[start + len(_BOXED) : closed]
        end = start + len(_BOXED) - 1
    return None


def close(text: str, start: int) -> int | None:
    """Where the brace group that was opened before `start` closes."""
    depth = 1
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
    return None
