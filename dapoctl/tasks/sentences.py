"""The answer in a line of text: its box, its only formula, or its only number, without the words around it."""

from __future__ import annotations

import re

from dapoctl.tasks.answers import clean
from dapoctl.tasks.boxes import boxed, spans

NUMBER = r"(?:\d+,\d{2}(?![\d,])|\d{1,3}(?:,\d{3})+|\d{1,3}(?:\{,\}\d{3})+|\d+)(?:\.\d+)?|\.\d+"
"""A number without its sign, as a regular expression"""
_NUMBERS = re.compile(rf"(?<![\w.])[-+\u2212]?\s?(?:\\?[$\u20ac\u00a3\u00a5])?(?:{NUMBER})(?:/\d+)?(?:\s?\\?%)?")
_FORMULA = re.compile(
    r"(?<!\\)\$\$(?P<a>[^$]+)\$\$|(?<!\\)\$(?P<b>(?:[^$\\]|\\.)+)\$|\\\((?P<c>.+?)\\\)|\\\[(?P<d>.+?)\\\]"
)
# An abbreviation (`approx.`) is not followed by a capital.
_SENTENCE_ENDS = re.compile(r"[.!?](?:[\"')*_]{0,3})\s+(?=[A-Z(\[\"'*])")
_WORDS = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_ONLY_WORDS = re.compile(r"[\w\s.,;:'\u2019\"\u201c\u201d?()\u00b0\u20ac\u00a3\u00a5$²³*_`/-]*")
_CHANGES_IT = frozenset(
    (  # noqa: SIM905 - quoted words are harder to read
        "not no never neither nor without except hundred hundreds thousand thousands million millions billion billions "
        "trillion dozen dozens half halves third thirds quarter quarters fourth fourths fifth fifths tenth tenths than "
        "between least most over under above below up squared cubed factorial choose sqrt root mod modulo base twice "
        "thrice double triple times plus minus divided multiplied power raised or percent pct percentage negative inverse "
        "reciprocal log sin cos tan square cube isn doesn don maybe perhaps either to"
    ).split()
)
"""Words that change what a number in a sentence means, or say that it is not the answer"""
_FUNCTIONS = frozenset(
    "sqrt pi log ln sin cos tan sec csc cot arcsin arccos arctan exp inf infinity min max mod gcd lcm".split()  # noqa: SIM905
)
_ASSUMES = re.compile(
    r"\b(?:let|if|suppose|assume|given|since|because|for|when|where|as|consider|define|denote|call|set|substitute|by|using)\b",
    re.IGNORECASE,
)
"""Words of a sentence that does not conclude"""
_ASKS = re.compile(
    r"\s*(?:find|compute|evaluate|solve|simplify|what|which|how|express|determine|calculate|write|factor|expand)\b",
    re.IGNORECASE,
)
"""How a question begins"""
_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mbox|textnormal|textit|mathbf|operatorname)\s?\{[^{}]*\}|\\[A-Za-z]+")
_UNIT = re.compile(
    rf"[-+\u2212]?\s?(?:\\?[$\u20ac\u00a3\u00a5])?(?:{NUMBER})(?:/\d+)?\s?(?:\\?%|\u00b0|\u20ac|\$)?\s?"
    r"(?:[^\W\d_]{1,15}(?:[/ ][^\W\d_]{1,15}){0,3}|\([^\W\d_]{1,15}(?: [^\W\d_]{1,15})?\))?(?:\^?\{?[23²³]\}?)?"
)


def from_line(line: str) -> str:
    """The answer that a line gives.

    Its box, or its boxes with commas between; else its only formula, if the words around it hold no digits; else the
    formulas of a list; else its only number, if the words around it leave that number as it is; else the whole line.
    """
    boxes = boxed(line)
    if boxes and len(boxes) == len(spans(line)):
        return ", ".join(boxes)
    line = clean(_first_sentence(line))
    found = formulas_of(line)
    around = _FORMULA.sub(" ", line).replace('\\"', "")
    if found and re.search(r"\d", around) and not any(map(_says_something, found)):
        # `The volume of $ABC$ is 120.`
        line, found = _FORMULA.sub("it", line), []
    if found and not re.search(r"[\d$\\=<>^+/]", around.replace("\\$", "")) and not _changes(around):
        return ", ".join(clean(formula) for formula in found)
    measured = _UNIT.fullmatch(line) is not None and not re.search(r"\b(?:and|is|that|it)\b", line)
    if not found and not measured and (number := _only_number(line)) is not None:
        return number
    if found:
        return _FORMULA.sub(lambda match: f" {match[0].strip('$')} ", line)
    return line.replace("\\(", " ").replace("\\)", " ")


def is_bare(text: str) -> bool:
    """Whether a text is an answer and nothing else: a formula, or a number with its unit, without a sentence around it."""
    if re.fullmatch(r"\s*(?:\$\$?[^$]+\$\$?|\\\[.+?\\\]|\\\(.+?\\\))[\s.]*", text, re.DOTALL):
        return True
    text = clean(text)
    if "\n" in text and not re.fullmatch(r"(\$\$?|\\\[|\\\()[^$]*(\$\$?|\\\]|\\\))", text.strip()):
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > 1 and "\\begin" not in text:
            return False
    if _UNIT.fullmatch(text):
        return not _changes(text) or bool(re.search(r"\b(?:percent|pct|percentage)\s*$", text))
    if not re.search(r"[\d\\=<>^+*/$]", text):
        return False
    rest = _COMMAND.sub(" ", text)
    return all(
        len(word) < 2 or word.isupper() or word.lower() in _FUNCTIONS | {"or", "and"} for word in _WORDS.findall(rest)
    )


def is_conclusion(text: str) -> bool:
    """Whether a text is one sentence that ends in its only formula, and that assumes nothing: `We find that $x < 3$.`"""
    text = text.strip()
    match = _FORMULA.search(text)
    return (
        match is not None
        and "\n" not in text
        and not text[match.end() :].strip(" .*")
        and _ONLY_WORDS.fullmatch(text[: match.start()]) is not None
        and not re.search(r"[\d$]", text[: match.start()])
        and not _changes(text[: match.start()])
        and _ASKS.match(text) is None
        and (_ASSUMES.search(text[: match.start()]) is None or text[: match.start()].rstrip().endswith(":"))
    )


def formulas(text: str) -> tuple[list[str], str]:
    """The formulas of a text, and the text with blanks in their places."""
    return formulas_of(text), _FORMULA.sub(" ", text)


def formulas_of(line: str) -> list[str]:
    """What stands between dollars, `\\(...\\)` and `\\[...\\]`."""
    return [next(part for part in match.groups() if part is not None) for match in _FORMULA.finditer(line)]


def _says_something(formula: str) -> bool:
    """Whether a formula is more than a name such as `n`, `ABC` and `f(x)`."""
    return re.fullmatch(r"\s*[A-Za-z]{1,12}'?(?:\([a-z]\))?\s*", formula) is None


def _first_sentence(line: str) -> str:
    """`line` without the sentences after its first, if these hold no digits or formulas: `34. I hope it is correct.`"""
    for match in _SENTENCE_ENDS.finditer(line):
        before = line[: match.start()]
        after = _FORMULA.sub(
            lambda formula: formula[0] if any(map(_says_something, formulas_of(formula[0]))) else "it",
            line[match.end() :],
        )
        if before.replace("\\$", "").count("$") % 2 == 0 and not re.search(r"[\d$\\]", after):
            return before
    return line


def _only_number(line: str) -> str | None:
    """The number of a sentence with one, `35` of `it is 35 apples`; None if the words may change it, or there are more."""
    if not _ONLY_WORDS.fullmatch(line.replace("\\$", "$").replace("\\%", "")):
        return None
    numbers = [*_NUMBERS.finditer(line)]
    if len(numbers) != 1 or re.search(r"\d", line[: numbers[0].start()] + line[numbers[0].end() :]):
        return None
    before, after = line[: numbers[0].start()], line[numbers[0].end() :]
    words = _WORDS.findall(before + " " + after)
    if not words or re.match(r"\s?[!^*/=(]\s?\S", after) or any(len(word) == 1 and word not in "aAI" for word in words):
        return None
    return None if _changes(before + " " + after) else numbers[0][0].strip()


def _changes(text: str) -> bool:
    return any(word.lower() in _CHANGES_IT for word in re.findall(r"[^\W\d_]+", text))
