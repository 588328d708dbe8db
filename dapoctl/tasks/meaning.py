"""The scorer `math`: a marked answer is compared with the gold answer for what both are, part by part."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from dapoctl.tasks import answers, forms, markers, parts, sentences
from dapoctl.tasks.verify import SHOWN, Verdict, Verifier

if TYPE_CHECKING:
    from dapoctl.batch import Outcome

MOST_PARTS = 16
"""Parts of an answer that are compared one by one; of a longer one computer algebra compares the whole"""
DEPTH = 3
"""Tuples in lists in tuples are taken apart; what is deeper is compared whole"""
RELATIVE = 1e-6
"""Two decimal numbers closer than this share of the larger are the same"""
LETTERS = 3
"""Letters that may be a product of variables; more are a word"""
_NOT_UNITS = answers.NOT_A_UNIT | {"twice", "thrice", "double", "no", "not", "maybe"}
_LENGTHS = frozenset("nm mm cm dm m km in ft yd mi mg g kg s ms min h l ml".split())  # noqa: SIM905
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_WORD = re.compile(r"(?<![\\{A-Za-z])[A-Za-z]{2,}")
_TIME = re.compile(r"\d{1,2}:0\d")
_ONE_COMMA = re.compile(r"[+-]?\d+,\d{2,}", re.ASCII)
_POINT = re.compile(r"[+-]?\d*\.\d{2,}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Match:
    """A comparison of two answers."""

    outcome: Outcome
    by_text: bool = True
    """Whether they are the same text in normal form; computer algebra was not asked"""


RIGHT, WRONG = Match("right"), Match("wrong")


class Meaning(Verifier):
    """Only a marked answer counts (`markers.find`); one that stands in the question must be the gold answer's text."""

    def verify(self, text: str, gold: str, question: str = "") -> Verdict:
        """Judge a whole response.

        Raises:
            DapoctlError: no worker could ever be started.
        """
        truth = markers.of_gold(gold)
        found = markers.find(text)
        if found is None:
            word = answers.clean(markers.spoken(text)[-answers.TAIL :])
            same = forms.words(word) is not None and forms.words(word) == forms.words(truth)
            return Verdict("right" if same else "unanswered", word[:SHOWN] if same else None, marked=False)
        match = self.compare(found.text, truth)
        outcome = match.outcome
        if outcome == "right" and not match.by_text and stands_in(found.text, question):
            outcome = "wrong"
        return Verdict(outcome, found.text[:SHOWN], marked=found.marked)

    def compare(self, answer: str, gold: str, depth: int = 0) -> Match:
        """Whether an answer is the gold answer; both without delimiters."""
        if answer == gold:
            return RIGHT
        if forms.is_angle(answer) != forms.is_angle(gold):
            answer, gold = forms.in_radians(answer, gold), forms.in_radians(gold, answer)
        answer, gold = forms.with_point(answer), forms.with_point(gold)
        right = answers.decide(answer, gold)
        if right is not None:
            return RIGHT if right else WRONG
        ours, truth = forms.normal(answer), forms.normal(gold)
        if forms.squeezed(ours) == forms.squeezed(truth) != "":
            return RIGHT
        ours, truth = _decimal_comma(ours, truth), _decimal_comma(truth, ours)
        theirs, wanted = parts.take_apart(ours), parts.take_apart(truth)
        if theirs.kind == wanted.kind == "one":
            return self._one(ours, truth, theirs, wanted)
        sum_of_matrices = "one" in (theirs.kind, wanted.kind) and "\\begin" in ours + truth
        if sum_of_matrices or parts.is_interval(ours) or parts.is_interval(truth):
            return self._ask(ours, truth)
        theirs, wanted = _without_repeats(theirs, wanted)
        if {theirs.kind, wanted.kind} == {"set", "tuple"} or len(theirs.values) != len(wanted.values):
            return WRONG
        if depth >= DEPTH or len(wanted.values) > MOST_PARTS:
            return self._ask(ours, truth)
        return self._several(theirs, wanted, depth)

    def _several(self, theirs: parts.Parts, wanted: parts.Parts, depth: int) -> Match:
        """The parts by their names, in their order, or in any order."""
        values = theirs.values
        if wanted.names and len(theirs.names) == len(values) == len(wanted.names):
            by_name = dict(zip(theirs.names, values, strict=True))
            if by_name.keys() == {*wanted.names}:
                return self._pairs(
                    [(by_name[name], value) for name, value in zip(wanted.names, wanted.values, strict=True)], depth
                )
        named = len(wanted.names) == len(wanted.values) > 1
        if "tuple" in (theirs.kind, wanted.kind) or (named and not theirs.names):
            return self._pairs(list(zip(values, wanted.values, strict=True)), depth)
        left, by_text = list(values), True
        for truth in wanted.values:
            same = next((value for value in left if forms.squeezed(value) == forms.squeezed(truth)), None)
            if same is None:
                found = None
                for value in left:
                    match = self.compare(value, truth, depth + 1)
                    if match.outcome == "right":
                        found, by_text = value, by_text and match.by_text
                        break
                    if match.outcome != "wrong":
                        return match
                if found is None:
                    return WRONG
                same = found
            left.remove(same)
        return Match("right", by_text)

    def _pairs(self, pairs: list[tuple[str, str]], depth: int) -> Match:
        by_text = True
        for answer, gold in pairs:
            match = self.compare(answer, gold, depth + 1)
            if match.outcome != "right":
                return match
            by_text = by_text and match.by_text
        return Match("right", by_text)

    def _one(self, ours: str, truth: str, theirs: parts.Parts, wanted: parts.Parts) -> Match:
        """Two answers of one part each."""
        brackets, limits = parts.ends(ours)
        if limits and parts.ends(truth)[0] == brackets:
            return self._pairs(list(zip(limits, parts.ends(truth)[1], strict=True)), DEPTH)
        sides = parts.split(ours, "=")
        if len(sides) == 2 == 1 + len(parts.split(truth, "=")) and not theirs.names and not _LETTER.search(ours):
            # `1/2 = 1/3` says two things.
            return self._pairs([(side.strip(), truth) for side in sides], DEPTH)
        if len(theirs.values) == len(wanted.values) == 1 and _same_name(theirs, wanted, ours, truth):
            ours, truth = theirs.values[0], wanted.values[0]
            if theirs.names and wanted.names:
                ours = parts.rename(ours, theirs.names[0], wanted.names[0])
        if _units_differ(ours, truth):
            return WRONG
        # Beside a number `m` is a metre, beside `18m` it may be a variable.
        not_units = _NOT_UNITS - {"m"} if forms.decimal(truth) is not None else _NOT_UNITS
        ours, truth = forms.without_unit(ours, not_units), forms.without_unit(truth, _NOT_UNITS)
        if forms.squeezed(ours) == forms.squeezed(truth):
            return RIGHT
        right = answers.decide(ours, truth)
        if right is None:
            right = _by_kind(ours, truth)
        if right is not None:
            return RIGHT if right else WRONG
        if _TIME.fullmatch(truth) or (_WORD.search(ours) and not _LETTER.search(truth)):
            return WRONG
        return self._ask(*_as_ratio(ours, truth))

    def _ask(self, ours: str, truth: str) -> Match:
        verdict = self.ask(ours, truth, marked=True, exact=True)
        return Match(verdict.outcome, by_text=False)


def stands_in(answer: str, question: str) -> bool:
    """Whether an answer is copied: its text, white space and layout aside, stands in the question."""
    if not question:
        return False
    asked = _asked(question)
    value = parts.take_apart(forms.normal(answer)).values
    for copied in {answer, *(value if len(value) == 1 else ())}:
        text = forms.squeezed(copied).strip("()")
        if text and re.search(rf"(?<![\w.]){re.escape(text)}(?![\w]|\.\d)", asked):
            return True
    return False


@lru_cache(maxsize=512)
def _asked(question: str) -> str:
    """A question's formulas and words in the form of an answer, a line for each; words keep their spaces."""
    formulas, prose = sentences.formulas(question)
    words = re.sub(r"\s*([-+*/=^<>(),{}_])\s*", r"\1", forms.normal(prose))
    return "\n".join([*map(forms.squeezed, formulas), words])


def _decimal_comma(number: str, beside: str) -> str:
    """`1000.99` for `1000,99`, beside a number with a point. With one digit after it the comma divides two numbers."""
    return number.replace(",", ".") if _ONE_COMMA.fullmatch(number) and _POINT.fullmatch(beside) else number


def _without_repeats(theirs: parts.Parts, wanted: parts.Parts) -> tuple[parts.Parts, parts.Parts]:
    """Both, without the values that a list or a set says twice, where their numbers differ."""
    if len(theirs.values) == len(wanted.values) or "tuple" in (theirs.kind, wanted.kind):
        return theirs, wanted
    ours, truth = (
        parts.Parts(found.kind, tuple({forms.squeezed(value): value for value in found.values}.values()))
        for found in (theirs, wanted)
    )
    return ours, truth


def _same_name(theirs: parts.Parts, wanted: parts.Parts, answer: str, gold: str) -> bool:
    """Whether names in front of two values leave the values comparable: one is a value alone, or both name the same."""
    if not theirs.names or not wanted.names:
        unnamed = gold if theirs.names else answer if wanted.names else ""
        return not re.search(r"[=<>]|\\[lg]eq", unnamed)
    ours, name = theirs.names[0], wanted.names[0]
    return ours == name or re.sub(r"\(.*\)", "()", ours) == re.sub(r"\(.*\)", "()", name)


def _units_differ(answer: str, gold: str) -> bool:
    """`5 cm` for `5 km`: two units of measure that are not the same."""
    ours, theirs = (re.findall(r"(?<![A-Za-z\\])([a-z]{1,3})(?![A-Za-z])", text)[-1:] for text in (answer, gold))
    return (
        bool(ours and theirs)
        and ours != theirs
        and {*ours, *theirs} <= _LENGTHS
        and bool(re.match(r"[\d.,]+\s?(?:\\text|[a-z])", answer))
    )


def _by_kind(answer: str, gold: str) -> bool | None:
    """Whether they are equal if both are words, numbers in a base, or decimal numbers; None if something else."""
    ours, theirs = forms.words(answer), forms.words(gold)
    if theirs is not None and ours == theirs:
        return True
    if theirs is not None and len(theirs) > LETTERS:
        return False
    base, wanted = forms.in_base(answer), forms.in_base(gold)
    if wanted is not None:
        return base == wanted
    if base is not None and (plain := answers.integer(gold)) is not None:
        return base[1].isdigit() and 2 <= int(base[1][:3]) <= 36 and _value(*base) == int(plain[:300])
    number, truth = forms.decimal(answer), forms.decimal(gold)
    if number is not None and truth is not None:
        return math.isclose(number, truth, rel_tol=RELATIVE)
    return None


def _value(digits: str, base: str) -> int | None:
    try:
        return int(digits[:300], int(base))
    except ValueError:
        return None


def _as_ratio(answer: str, gold: str) -> tuple[str, str]:
    """`11:21` as a fraction, if both can be numbers; `12:00` is a time."""
    found = []
    for text in (answer, gold):
        one, mark, other = text.partition(":")
        plain = (
            mark and ":" not in other and re.fullmatch(r"[1-9]\d*", other.strip()) and re.fullmatch(r"\d+", one.strip())
        )
        found.append(f"\\frac{{{one.strip()}}}{{{other.strip()}}}" if plain else text)
    return found[0], found[1]
