"""An answer of several parts, taken apart: `x = 5, y = 6`, `(1, 2)`, `\\{1, 2\\}`, `1 \\pm \\sqrt{19}`, a matrix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["one", "list", "set", "tuple"]

_NAME = (
    r"(?:[A-Za-z]|\\[A-Za-z]{2,8}|[A-Z]{2,4})'?(?:\s?_\s?(?:\w|\{[^{}=]{1,24}\}))?\s?"
    r"(?:\(\s?[A-Za-z](?:\s?,\s?[A-Za-z])?\s?\))?"
)
_ASSIGNED = re.compile(
    rf"\s*(?P<name>{_NAME}|\|\s?[A-Z]{{2}}\s?\||{_NAME}\s?:\s?{_NAME}|\\frac\{{[A-Z]+\}}\{{[A-Z]+\}}"
    rf"|\(\s?{_NAME}(?:\s?,\s?{_NAME})+\s?\)|[A-Z][a-z]{{2,15}}(?=\s?[:=]))\s?(?:=|\\in(?![a-z])|:(?=\s))\s?(?P<value>[^=].*)",
    re.DOTALL,
)
_RELATION = re.compile(r"[<>=]|\\(?:leq|geq|neq|in|approx|equiv)(?![A-Za-z])")
_INTERVALS = re.compile(r"[<>\[\]|]|\\(?:cup|cap|leq|geq|neq|in|infty|setminus|mid|approx|equiv|to)(?![A-Za-z])")
_MATRIX = re.compile(r"\\begin\{([pbvB]?matrix|array)\}(?:\{[^{}]*\})?(?P<body>(?:(?!\\end).)*)\\end\{\1\}", re.DOTALL)
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an answer is made of."""

    kind: Kind
    values: tuple[str, ...]
    names: tuple[str, ...] = ()
    """A name for each value; empty where not every value has its own"""


def take_apart(answer: str) -> Parts:
    """The parts of a normal form. What has relations or intervals in it stays whole."""
    name, whole = ("", answer) if ";" in _outside(answer) else _named(answer)
    if is_interval(whole) or not whole:
        return Parts("one", (whole or answer,), (name,) if name and whole else ())
    matrix = _MATRIX.fullmatch(whole.strip("()[] "))
    if matrix is not None:
        return Parts("tuple", tuple(_rows(matrix["body"])), (name,) if name else ())
    kind, inside = _unwrapped(whole)
    pieces = [piece.strip() for piece in split(inside, ";" if ";" in _outside(inside) else ",")]
    pieces = [piece for piece in pieces if piece]
    if any("," in _outside(piece) for piece in pieces):
        # `p = 5, q = 2; p = 7, q = 2`: each group is one solution.
        return Parts("list", tuple(f"({piece})" for piece in pieces))
    named = [
        (name, piece) if index == 0 and kind == "list" and name else _named(piece) for index, piece in enumerate(pieces)
    ]
    values = [value for _, piece in named for value in both_signs(piece)]
    names = tuple(name for name, _ in named if name)
    width = len({*names})
    if 1 < width < len(names) == len(values) and names == names[:width] * (len(names) // width):
        # `p = 5, q = 2, p = 7, q = 2`: two solutions, as above.
        return Parts("list", tuple(f"({','.join(values[at : at + width])})" for at in range(0, len(values), width)))
    if len({*names}) < len(values):
        names = ()
    if kind == "list" and len(values) == 1:
        return Parts("one", tuple(values), (name,) if name else names)
    return Parts(kind, tuple(values), names)


def is_interval(answer: str) -> bool:
    """Whether it is an interval, a relation, a condition: what only computer algebra takes apart."""
    relation = "," not in answer and _RELATION.search(_named(answer)[1])
    return bool(relation) or _INTERVALS.search(answer) is not None


def ends(interval: str) -> tuple[str, list[str]]:
    """(brackets, ends) of one interval such as `[0, 1)`; no ends for anything else."""
    brackets, inside = interval[:1] + interval[-1:], interval[1:-1]
    if brackets not in ("[]", "[)", "(]") or not _balanced(inside) or is_interval(inside):
        return "", []
    found = split(inside, ",")
    return (brackets, [end.strip() for end in found]) if len(found) == 2 else ("", [])


def split(text: str, mark: str) -> list[str]:
    """`text` at each `mark` that no bracket holds."""
    depth, begun, found, skip = 0, 0, [], False
    for place, character in enumerate(text):
        if skip:
            skip = False
        elif character == "\\" and text[place + 1 : place + 2] in ("{", "}", "\\"):
            depth += {"{": 1, "}": -1}.get(text[place + 1], 0)
            skip = True
        elif character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        elif character == mark and depth <= 0:
            found.append(text[begun:place])
            begun = place + 1
    return [*found, text[begun:]]


def both_signs(value: str) -> list[str]:
    """`a + b` and `a - b` for `a \\pm b`; else the value."""
    if value.count("\\pm") + value.count("±") != 1:
        return [value]
    return [re.sub(r"\\pm(?![A-Za-z])|±", sign, value).strip().removeprefix("+").strip() for sign in ("+", "-")]


def rename(value: str, name: str, other: str) -> str:
    """A formula in the variable of `other` instead of that of `name`: `f(z)` and `z` beside `f(x)` give `x`."""
    ours, theirs = (re.search(r"\(\s?([A-Za-z])\s?\)", text) for text in (name, other))
    if ours is None or theirs is None or ours[1] == theirs[1]:
        return value
    return re.sub(rf"(?<![\\A-Za-z]){ours[1]}(?![A-Za-z])", theirs[1], value)


def _named(answer: str) -> tuple[str, str]:
    match = _ASSIGNED.fullmatch(answer)
    if match is None or ("," not in match["value"] and re.search(r"[=<>]|\\[lg]eq", match["value"])):
        return "", answer
    return re.sub(r"\s|[{}]", "", match["name"]), match["value"].strip()


def _unwrapped(answer: str) -> tuple[Kind, str]:
    for start, end, kind in (("\\{", "\\}", "set"), ("(", ")", "tuple"), ("{", "}", "list")):
        inner = answer[len(start) : -len(end)]
        if answer.startswith(start) and answer.endswith(end) and _balanced(inner):
            if kind == "tuple" and len(split(inner, ",")) < 2 and len(split(inner, ";")) < 2:
                return "list", inner
            return kind, inner  # type: ignore[return-value]
    return "list", answer


def _balanced(text: str) -> bool:
    """Whether every bracket that closes in `text` was opened in it."""
    depth = 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth < 0:
            return False
    return depth == 0


def _outside(text: str) -> str:
    """The separators that no bracket holds."""
    return "".join(mark for mark in ";," if len(split(text, mark)) > 1)


def _rows(body: str) -> list[str]:
    rows = [row.strip() for row in re.split(r"\\\\", body) if row.strip()]
    if all("&" not in row for row in rows):
        return rows
    cells = [[cell.strip() for cell in row.split("&")] for row in rows]
    return [f"({','.join(row)})" for row in cells] if len(rows) > 1 else cells[0]
