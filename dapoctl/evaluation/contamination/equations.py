"""The equations that lead from a question's numbers to its answer, where a set gives them; exact, in fractions.

GSM8K marks each calculation of a solution, `<<16-3-4=9>>`; ASDiv has a formula, `7+2=9`; SVAMP an expression without result.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 200
"""Characters of an expression: more is no arithmetic of a word problem"""
_MARKED = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
_UNIT = re.compile(r"\s*\([^()\d]*[A-Za-z][^()\d]*\)")
_PLAIN = re.compile(r"[\d.,\s+*/()-]+")
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@dataclass(frozen=True, slots=True)
class Equation:
    """`7 + 2 = 9`."""

    expression: ast.expr
    result: Fraction

    @property
    def literals(self) -> list[Fraction]:
        """Every number that is written in the expression."""
        return [_value(node) for node in ast.walk(self.expression) if isinstance(node, ast.Constant)]


def equations_of(text: str, answer: str) -> list[Equation]:
    """The equations in `text`, if each holds and the last one gives `answer`; otherwise none."""
    pairs = [(match[1], match[2]) for match in _MARKED.finditer(text)]
    if not pairs and "####" not in text:
        left, sign, right = _UNIT.sub("", text).partition("=")
        pairs = [(left, right if sign else answer)]
    found = [_equation(left, right) for left, right in pairs]
    gold = number(answer)
    equations = [equation for equation in found if equation is not None]
    if not equations or len(equations) < len(found) or gold is None or equations[-1].result != gold:
        return []
    try:
        holds = all(values(each.expression, {})[-1] == each.result for each in equations)
    except ZeroDivisionError:
        return []
    return equations if holds else []


def number(text: str) -> Fraction | None:
    """`1,200`, `$0.50` and `-3` as exact numbers; None for anything else."""
    plain = text.strip().replace("$", "").replace(",", "")
    return Fraction(plain) if re.fullmatch(r"-?(\d{1,15}\.?\d{0,9}|\.\d{1,9})", plain) else None


def values(expression: ast.expr, literals: Mapping[Fraction, Fraction]) -> list[Fraction]:
    """The value of the expression after those of its parts, with `literals` in place of the numbers that are written there.

    Raises:
        ZeroDivisionError: it divides by zero.
    """
    found: list[Fraction] = []

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            left, right = walk(node.left), walk(node.right)
            value = Fraction(_OPERATORS[type(node.op)](left, right))
        elif isinstance(node, ast.UnaryOp):
            value = -walk(node.operand)
        else:
            written = _value(node)
            value = literals.get(written, written)
        found.append(value)
        return value

    walk(expression)
    return found


def terms(expression: ast.expr) -> int:
    """How many numbers the longest sum in the expression has."""
    sums = [node for node in ast.walk(expression) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)]
    return max(map(_addends, sums), default=1)


def _addends(node: ast.expr) -> int:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _addends(node.left) + _addends(node.right)
    return 1


def changed(equations: Sequence[Equation], literals: Mapping[Fraction, Fraction]) -> list[list[Fraction]]:
    """What `values` gives for each equation with `literals`; where a later one has an earlier result, it has the new one.

    Raises:
        ZeroDivisionError: one of them divides by zero.
    """
    known, found = dict(literals), []
    for equation in equations:
        found.append(values(equation.expression, known))
        known[equation.result] = found[-1][-1]
    return found


def _equation(left: str, right: str) -> Equation | None:
    result = number(right)
    # Decimals may begin with the point, integers with zeros.
    source = re.sub(r"(?<![\d.])0+(?=\d)", "", left.replace(",", "").replace("$", ""))
    if result is None or len(source) > LONGEST or not _PLAIN.fullmatch(source) or "**" in source or "//" in source:
        return None
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except SyntaxError:
        return None
    return Equation(tree, result) if _is_arithmetic(tree) else None


def _is_arithmetic(tree: ast.expr) -> bool:
    return isinstance(tree, ast.BinOp) and all(
        isinstance(node, ast.BinOp | ast.Constant | ast.USub | ast.UnaryOp) or type(node) in _OPERATORS
        for node in ast.walk(tree)
    )


def _value(node: ast.expr) -> Fraction:
    assert isinstance(node, ast.Constant)
    return Fraction(repr(node.value))
