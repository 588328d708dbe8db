"""Which runs: `gkl and state=finished and eval.aime24.avg>0.1`.

    expression: alternative ("or" alternative)*      alternative: factor ("and" factor)*
    factor: "not" factor | "(" expression ")" | WORD | WORD OPERATOR WORD

A word alone asks for a component, a tag, a state, or a part of the id. On the left of `= != < <= > >= ~` stands a field, a key
of the configuration or a metric; `~` asks whether the right is part of it.
"""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dapoctl.errors import UserError, nearest
from dapoctl.runs.state import STATES
from dapoctl.runs.summary import RunSummary

TOKEN = re.compile(r"""\s*(?:(?P<paren>[()])|(?P<op><=|>=|!=|==|=|<|>|~)|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|"""
                   r"""(?P<word>[^\s()<>=!~"']+))""")  # fmt: skip
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FIELDS: dict[str, Callable[[RunSummary], Any]] = {
    "id": lambda run: run.id,
    "name": lambda run: run.name,
    "state": lambda run: run.state,
    "step": lambda run: run.step,
    "steps": lambda run: run.steps,
    "created": lambda run: run.created,
    "group": lambda run: run.group,
    "tag": lambda run: list(run.tags),
    "note": lambda run: run.note,
    "component": lambda run: list(run.components),
    "model": lambda run: run.config.get("model", {}).get("path"),
}
Test = Callable[[RunSummary], bool]


@dataclass(frozen=True)
class Token:
    """A piece of a query."""

    kind: str
    """word, text, op or paren"""
    text: str


def select(runs: Sequence[RunSummary], text: str) -> list[RunSummary]:
    """The runs that the query `text` asks for.

    Raises:
        UserError: it cannot be read, or asks for a field that no run has.
    """
    test, names = parse(text)
    _check_names(names, runs)
    return [run for run in runs if test(run)]


def parse(text: str) -> tuple[Test, list[str]]:
    """(whether a run is asked for, the fields that are asked about).

    Raises:
        UserError: it cannot be read.
    """
    parser = _Parser(text)
    test = parser.expression()
    if parser.tokens:
        raise parser.error(f"`{parser.tokens[0].text}` was not expected here")
    return test, parser.names


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._split(text)
        self.names: list[str] = []

    def _split(self, text: str) -> list[Token]:
        found, place = [], 0
        while text[place:].strip():
            match = TOKEN.match(text, place)
            if match is None:
                raise self.error(f"nothing can be made of `{text[place:].strip()}`")
            kind = str(match.lastgroup)
            kind = "text" if kind in ("double", "single") else kind
            found.append(Token(kind, str(match[str(match.lastgroup)])))
            place = match.end()
        return found

    def error(self, what: str) -> UserError:
        return UserError(
            f"--filter {self.text!r}: {what}; the form is `gkl and state=finished and eval.aime24.avg>0.1`"
        )

    def _next_is(self, *words: str) -> bool:
        return bool(self.tokens) and self.tokens[0].kind in ("word", "paren") and self.tokens[0].text in words

    def expression(self) -> Test:
        tests = [self.alternative()]
        while self._next_is("or"):
            self.tokens.pop(0)
            tests.append(self.alternative())
        return lambda run: any(test(run) for test in tests)

    def alternative(self) -> Test:
        tests = [self.factor()]
        while self._next_is("and"):
            self.tokens.pop(0)
            tests.append(self.factor())
        return lambda run: all(test(run) for test in tests)

    def factor(self) -> Test:
        if self._next_is("not"):
            self.tokens.pop(0)
            inner = self.factor()
            return lambda run: not inner(run)
        if self._next_is("("):
            self.tokens.pop(0)
            inner = self.expression()
            if not self._next_is(")"):
                raise self.error("`)` is missing")
            self.tokens.pop(0)
            return inner
        name = self._word("something to ask for")
        if self.tokens and self.tokens[0].kind == "op":
            sign = self.tokens.pop(0).text
            wanted = self._word(f"a value after `{name} {sign}`")
            self.names.append(name)
            return lambda run: compare(value_of(run, name), "=" if sign == "==" else sign, wanted)
        return lambda run: is_about(run, name)

    def _word(self, what: str) -> str:
        if not self.tokens or self.tokens[0].kind in ("op", "paren") or self._next_is("and", "or", "not"):
            raise self.error(f"{what} is missing")
        return self.tokens.pop(0).text


def is_about(run: RunSummary, word: str) -> bool:
    """Whether a word alone asks for this run."""
    if word in STATES:
        return run.state == word
    return word in run.components or word in run.tags or word == run.group or word in run.id


def value_of(run: RunSummary, name: str) -> Any:
    """A field, a configured value or a metric, by its name with dots; None where the run has none."""
    if name in FIELDS:
        return FIELDS[name](run)
    found: Any = run.config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if found is not None and not isinstance(found, dict):
        return found
    wanted = name.replace("/", ".")
    metrics = {metric.replace("/", "."): value for metric, value in run.metrics.items()}
    if wanted in metrics:
        return metrics[wanted]
    # `avg` without its k: that of the largest.
    fits = {_k(metric): value for metric, value in metrics.items() if metric.partition("@")[0] == wanted}
    return fits[max(fits)] if fits else None


def _k(metric: str) -> int:
    text = metric.partition("@")[2]
    return int(text) if text.isdecimal() else 0


def compare(value: Any, sign: str, wanted: str) -> bool:
    """`value sign wanted`, as numbers where both are, dates where the right is one, else as text; false without a value."""
    if isinstance(value, (list, tuple)):
        held = any(compare(item, "~" if sign == "~" else "=", wanted) for item in value)
        return not held if sign == "!=" else held
    if value is None:
        return sign == "!="
    if sign == "~":
        return wanted.lower() in str(value).lower()
    left, right = _alike(value, wanted)
    if sign in ("=", "!="):
        return bool(left == right) == (sign == "=")
    return type(left) is type(right) and bool(ORDER[sign](left, right))


def _alike(value: Any, wanted: str) -> tuple[Any, Any]:
    if isinstance(value, bool):
        return str(value).lower(), wanted.lower()
    if isinstance(value, (int, float)):
        try:
            return float(value), float(wanted)
        except ValueError:
            pass
        try:
            return float(value), datetime.datetime.fromisoformat(wanted).timestamp()
        except ValueError:
            pass
    return str(value), wanted


def _check_names(names: Sequence[str], runs: Sequence[RunSummary]) -> None:
    for name in names:
        if not runs or name in FIELDS or any(value_of(run, name) is not None for run in runs):
            continue
        metrics = {metric.replace("/", ".").partition("@")[0] for run in runs for metric in run.metrics}
        keys = {key for run in runs for key in [*run.config, *_dotted(run.config)]}
        known = sorted({*FIELDS, *metrics, *keys})
        raise UserError(f"--filter: no run has `{name}`.{nearest(name, known)} Fields: {', '.join(FIELDS)}; and every key"
                        " of a configuration and every metric, with dots")  # fmt: skip


def _dotted(config: dict[str, Any]) -> list[str]:
    return [f"{table}.{key}" for table, values in config.items() if isinstance(values, dict) for key in values]
