"""Answers in one way of writing, so that plain text decides most comparisons: LaTeX without layout, ASCII as LaTeX."""

from __future__ import annotations

import re
from functools import lru_cache

from dapoctl.tasks.answers import integer
from dapoctl.tasks.sentences import NUMBER

_CHARACTERS = str.maketrans(
    {
        "\u2212": "-", "\u2013": "-", "\u00d7": "\\times ", "\u00b7": "\\cdot ", "\u00f7": "\\div ", "\u03c0": "\\pi ",
        "\u221e": "\\infty ", "\u2264": "\\leq ", "\u2265": "\\geq ", "\u2260": "\\neq ", "\u222a": "\\cup ",
        "\u2229": "\\cap ", "\u2208": "\\in ",
        "\u2200": "\\forall ", "\u00b0": "^\\circ", "\u00b2": "^2", "\u00b3": "^3", "\u03b8": "\\theta ",
        "\uff1e": ">", "\uff1c": "<", "\uff1a": ":", "\uff0c": ",", "\uff08": "(", "\uff09": ")", "\u20ac": "", "\u00a3": "",
        "\u00a5": "", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    }
)  # fmt: skip
_REWRITTEN = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        ("\x0crac", r"\\frac"),
        ("\text(?=\\{)", r"\\text"),
        (
            r"(?<!\\)\\\\(?=(?:[dt]?frac|[bB]ig{1,2}|left|right|sqrt|text|pi|leq?|geq?|cdot|times|infty|pm|cup)(?![a-z]))",
            r"\\",
        ),
        (r"\\(?:left|right|[bB]ig{1,2}[lr]?)(?![A-Za-z])\.?", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:leqslant|le)(?![A-Za-z])", r"\\leq"),
        (r"\\(?:geqslant|ge)(?![A-Za-z])", r"\\geq"),
        (r"\\ne(?![A-Za-z])", r"\\neq"),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\(?:textnormal|mathrm|textbf|textit|mbox|mathbf|textrm|operatorname|mathit)\s?(?=\{)", r"\\text"),
        (r"(?<=\d)\s?\{\{?\s?,\s?\}\}?\s?(?=\d{3})", ""),
        (r"\\text\s?\{\s*(sin|cos|tan|log|ln)\s*\}", r"\\\1 "),
        (r"(?<=[\d)}])(?:and|or)(?=[A-Z(\\])", ","),
        (r"\s*\\text\s?\{\s*,?\s*for (?:all|any|some|every|each)\b[^{}]*\}[^,;]*\Z", ""),
        (r",\\! ?(?=\d{3})", ""),
        (r"(?<=\d)\\[,!;: ](?=\d{3}(?!\d))", ""),
        (r"\\(?:displaystyle|limits|qquad|quad)(?![A-Za-z])", " "),
        (r"(?<!\\)\\[,!;: ]|~", " "),
        (r"\^\{?\\circ\}?|\\degree(?![A-Za-z])|\^\\text\s?circ", " "),
        (r"(?<![\\\w])degrees?\b", " "),
        (r"\\text\s?\{([^{}]+?)\s(?:and|or)\s*\}", r"\\text{\1},"),
        (r"\\text\s?\{\s*(?:and|or)\s*\}|(?<![\w\\])(?:and|or)(?![\w])", ","),
        (r"\\?%|(?<=\d)\s?(?:percent|percentage|pct)\b|\\text\s?\{\s*(?:percent|percentage|pct)\s*\}", r"\\%"),
        (r"\\\$", ""),
        (r"<=", r"\\leq "),
        (r">=", r"\\geq "),
        (r"!=", r"\\neq "),
        (r"\*\*", "^"),
        (r"<sup>([^<]{1,20})</sup>", r"^{\1}"),
        (r"(?<![\\A-Za-z])(pi|infty|sin|cos|tan|ln|log)(?![A-Za-z])", r"\\\1 "),
        (r"(?<![\\A-Za-z])(?:infinity|inf|oo)(?![A-Za-z])", r"\\infty "),
        (r"\\(?:cupdot|bigcup)(?![A-Za-z])", r"\\cup"),
        (r"(?<=\d)\s?\^?\s?\{?\\?(?:text)?\s?\{?(?:th|st|nd|rd)\}?\}?(?![A-Za-z])", ""),
        (r",(?:\s*,)+", ","),
        (r"\A\s*\\\{\s*[a-z]\s*(?:\\mid|\||:)([^{}]*)\\\}\s*\Z", r"\1"),
        (r"\s+", " "),
    )
)
_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt\s?\(")
_DEGREES = re.compile(r"\s*(-?[\d.]+)\s*(?:\^\s?\{?\s?\\circ\s?\}?|\u00b0)\s*", re.ASCII)
_BRACED = re.compile(r"\{(\w)\}")
_GROUPED = re.compile(r"[+-]?\s?\d{1,3}(?:(?: \d{3})+|(?:,\d{3})+)(?:\.\d+)?")
_UNIT_TEXT = re.compile(r"\s*\\text\s?\{\s*[^{}]{1,40}\}\s*(?:\^\{?[23]\}?)?\s*$")
_NUMBER_UNIT = re.compile(
    rf"(?P<number>[-+]?\s?(?:{NUMBER})(?:/\d+)?)\s?"
    r"(?P<unit>[^\W\d_]{1,15}(?:[/ ][^\W\d_]{1,15}){0,3}|\([^\W\d_]{1,15}(?: [^\W\d_]{1,15})?\))"
    r"(?:\s?\^?\{?[23]\}?)?"
)
_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)
_POWER = re.compile(r"([-+]?[\d.]+)\s?(?:\\times|\\cdot|\*)\s?10\s?\^\s?[{(]{0,2}(-?\d{1,3})[})]{0,2}")
_WORDS = re.compile(r"[^\W\d_]+(?:[\s'.,-]+[^\W\d_]+)*[.!]?")
_BASE = re.compile(r"(?P<digits>[0-9A-Za-z]+)\s?_\s?\{?\s?(?:\\text\s?\{\s*)?(?P<base>\w+)\s*\}?\s?\}?")


@lru_cache(maxsize=8192)
def normal(answer: str) -> str:
    """`answer` in LaTeX without layout, units of degree or currency; thousands without a mark; `and`, `or` as commas."""
    answer = answer.translate(_CHARACTERS)
    for pattern, replacement in _REWRITTEN:
        answer = pattern.sub(replacement, answer)
    answer = _roots(answer).strip().rstrip(".,;: ").lstrip("=:,; ").strip()
    answer = answer.removesuffix("\\").rstrip()
    if answer.count("$") % 2 == 0:
        answer = answer.replace("$", " ").strip()
    elif answer.startswith("$") or answer.endswith("$"):
        answer = answer.strip("$ ")
    if _GROUPED.fullmatch(answer):
        answer = answer.replace(" ", "").replace(",", "")
    number = integer(answer)
    return answer if number is None else number


def squeezed(answer: str) -> str:
    """The normal form without white space, to compare as text."""
    return _BRACED.sub(r"\1", re.sub(r"\s|\\text\s?(?=\{)", "", normal(answer)).replace("{}", ""))


def without_unit(answer: str, not_units: frozenset[str]) -> str:
    """`18` for `18 km/h`, `18 (apples)`, `18\\text{ cm}^2`; the answer itself where the words may be something else."""
    match = _NUMBER_UNIT.fullmatch(answer)
    if match is not None:
        words = re.findall(r"[^\W\d_]+", match["unit"])
        return answer if any(word.lower() in not_units for word in words) else match["number"].replace(" ", "")
    stripped = _UNIT_TEXT.sub("", answer)
    unit = answer[len(stripped) :]
    words = re.findall(r"[^\W\d_]+", unit.replace("\\text", ""))
    if stripped and stripped != answer and not any(word.lower() in not_units for word in words):
        return stripped.rstrip()
    return answer


def with_point(answer: str) -> str:
    """`0.111` for `0,111`, which is no thousand."""
    return re.sub(r"\A([+-]?0),(?=\d+\Z)", r"\1.", answer)


def is_angle(answer: str) -> bool:
    """Whether it is a number of degrees."""
    return _DEGREES.fullmatch(answer) is not None


def in_radians(answer: str, beside: str) -> str:
    """Degrees as a part of pi, beside an answer that has pi in it; else the answer."""
    match = _DEGREES.fullmatch(answer)
    return f"\\frac{{{match[1]}\\pi}}{{180}}" if match is not None and "\\pi" in beside else answer


def decimal(answer: str) -> float | None:
    """The value of a plain decimal number, `2e-7` and `2 \\times 10^{-7}` included; None if it is something else."""
    if _DECIMAL.fullmatch(answer) and len(answer) <= 40:
        return float(answer)
    match = _POWER.fullmatch(answer)
    if match is not None and _DECIMAL.fullmatch(match[1]):
        return float(f"{match[1]}e{match[2]}")
    return None


def words(answer: str) -> str | None:
    """An answer that is words alone, in lower case: `evelyn`; None if it holds anything else."""
    plain = re.sub(r"\\text\s?\{([^{}]*)\}", r" \1 ", answer).strip(" ().!,'\"")
    if not _WORDS.fullmatch(plain):
        return None
    # `C` is a choice, `c` a variable.
    return plain if len(plain) == 1 else " ".join(re.findall(r"[^\W\d_]+", plain)).lower()


def in_base(answer: str) -> tuple[str, str] | None:
    """(digits, base) of `204_5` or `204_{five}`; None if the answer is not a number in a base."""
    match = _BASE.fullmatch(answer)
    if match is None or not match["digits"][0].isdigit() or not (match["base"].isdigit() or len(match["base"]) > 2):
        return None
    return match["digits"].upper().lstrip("0") or "0", match["base"].lower()


def _roots(answer: str) -> str:
    """`\\sqrt{3}` for `sqrt(3)`."""
    for _ in range(8):
        match = _ROOT.search(answer)
        if match is None:
            return answer
        depth, end = 1, match.end()
        while end < len(answer) and depth:
            depth += {"(": 1, ")": -1}.get(answer[end], 0)
            end += 1
        if depth:
            return answer
        answer = f"{answer[: match.start()]}\\sqrt{{{answer[match.end() : end - 1]}}}{answer[end:]}"
    return answer
