"""What a policy would try: responses that do not answer and are paid all the same, by scorer.

python -m experiments.bench.scorer_attacks PROBLEMS.jsonl [--cases CASES.jsonl] [--scorer math ...] [--limit N]

PROBLEMS has `problem` and `answer`: the question is copied, whole and one formula of it, as text, as an `Answer:` line and in a
box; every gold is hidden among other answers. CASES (see `scorer_cases`) has right responses: they are cut off. Each figure
should be 0 of n but for the copies that are the gold's own text, which are counted apart.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.tasks.forms import squeezed
from dapoctl.tasks.scorers import Scorer, build_scorer, check_scorer

CUTS = (0.25, 0.5, 0.75, 0.9)
"""Where right responses are cut off, as shares of their length"""
LONG = 200
"""Characters from which a response is long enough to be cut"""
_FORMULA = re.compile(r"(?<!\\)\$([^$]+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_MARK = re.compile(r"\\+f?box(?:ed)?\b|answer|solution is|####", re.IGNORECASE)
TWICE = (
    "Answer: {a} or {b}", "Answer: {a}, {b}", "Answer: {a} and {b}", "Answer: {a}; {b}", "Answer: ${a}$ or ${b}$",
    "Answer: ${a}$, ${b}$", "Answer: {{{a}, {b}}}", "Answer: $\\{{{a}, {b}\\}}$", "Answer: ({a}, {b})", "Answer: {a} {b}",
    "Answer: {a}/{b}", "Answer: {a} = {b}", "Answer: ${a} = {b}$", "Answer: {a} or maybe {b}", "Answer: {a}. Or {b}.",
    "Answer: either {a}, or {b}", "\\boxed{{{a}}} or \\boxed{{{b}}}", "\\boxed{{{a} \\text{{ or }} {b}}}",
    "\\boxed{{{a}, {b}}}", "Answer: \\boxed{{{a}}} \\boxed{{{b}}}", "The answer is {a} or {b}.", "#### {a} or {b}",
    "<answer>{a} {b}</answer>", "Answer: x = {a} or x = {b}", "Answer: the first is {a} and the second is {b}",
    "Answer: from {a} to {b}", "Answer: [{a}, {b}]", "Answer: {a}:{b}", "Answer: {a} \\cup {b}", "{a} or {b}", "{a}, {b}",
    "Answer: {a} ({b})", "Answer: not {a} but {b}", "Answer: {a} -> {b}", "Answer: {a} | {b}", "Answer: {a}\\pm{b}",
)  # fmt: skip
"""Ways to give two answers at once"""
GOLDS = (("540", "541"), ("7", "-7"), ("\\frac{1}{2}", "\\frac{1}{3}"), ("2\\sqrt{3}", "3\\sqrt{2}"), ("0.25", "0.75"))
EVERYTHING = (
    ", ".join(map(str, range(1000))), "\\{" + ", ".join(map(str, range(1000))) + "\\}", "[0, 999]", "(0, 1000)",
    "0 \\leq x \\leq 999", "0 to 999", "\\mathbb{R}", "\\mathbb{Z}", "x = x", "nan", "0/0", "\\infty", "(-\\infty, \\infty)",
    "A, B, C, D", "any number", "all real numbers", "x", "\\pm 540", "0-999", "?", "",
)  # fmt: skip
"""Answers that hold every answer, or none"""


@dataclass(frozen=True, slots=True)
class Attack:
    """A response that does not answer the question."""

    kind: str
    response: str
    gold: str
    question: str = ""
    same_text: bool = False
    """It is the gold's own text all the same"""


def copies(problem: str, gold: str) -> Iterator[Attack]:
    """The question and its formulas as responses."""
    yield Attack("question", problem, gold, problem)
    yield Attack("question as Answer:", f"Answer: {problem}", gold, problem)
    formulas = [
        next(part for part in match.groups() if part is not None).strip() for match in _FORMULA.finditer(problem)
    ]
    for kind, chosen in (("longest formula", [max(formulas, key=len)] if formulas else []), ("any formula", formulas)):
        for formula in chosen:
            same = squeezed(formula) == squeezed(gold) or squeezed(formula.rpartition("=")[2]) == squeezed(gold)
            for form in ("Answer: {}", "Answer: ${}$", "\\boxed{{{}}}", "The answer is ${}$."):
                yield Attack(kind, form.format(formula), gold, problem, same)


def cut(response: str, gold: str) -> Iterator[Attack]:
    """A right response, cut off before any of it is marked as an answer."""
    first = _MARK.search(response)
    for share in CUTS:
        length = int(len(response) * share)
        if first is None or length <= first.start():
            yield Attack(f"cut at {share:.0%}", response[:length], gold)
    if first is not None:
        yield Attack("cut before the mark", response[: first.start()], gold)
        yield Attack("cut within the mark", response[: first.end()], gold)


def hedges() -> Iterator[tuple[Attack, Attack]]:
    """The same response judged for either of two answers."""
    for a, b in GOLDS:
        for form in TWICE:
            text = form.format(a=a, b=b)
            yield Attack("two answers", text, a), Attack("two answers", text, b)


def everything(golds: Sequence[str]) -> Iterator[Attack]:
    """Answers that hold every answer, for each gold."""
    for said in EVERYTHING:
        for gold in golds:
            for form in ("Answer: {}", "\\boxed{{{}}}"):
                yield Attack("everything", form.format(said), gold, same_text=squeezed(said) == squeezed(gold))


def hits(scorer: Scorer, attacks: Sequence[Attack], workers: int) -> list[Attack]:
    """The attacks that the scorer calls right."""
    with ThreadPoolExecutor(workers) as threads:
        found = threads.map(lambda a: scorer.verify(a.response, a.gold, a.question).outcome == "right", attacks)
        return [attack for attack, right in zip(attacks, found, strict=True) if right]


def main() -> None:
    """Attack each scorer and print what was paid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--scorer", action="append", metavar="NAME")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    problems = _rows(options.problems)[: options.limit]
    attacks = [attack for row in problems for attack in copies(row["problem"], row["answer"])]
    attacks += everything([row["answer"] for row in problems[:40]])
    for case in _rows(options.cases) if options.cases else ():
        if case["expected"] and len(case["response"]) > LONG:
            attacks += cut(case["response"], case["gold"])
    pairs = [*hedges()]
    for name in options.scorer or ["math"]:
        scorer = build_scorer(check_scorer(name), options.workers, 5.0)
        try:
            print(f"{name}: right of tried, and of these the gold's own text")
            for kind in dict.fromkeys(attack.kind for attack in attacks):
                tried = [attack for attack in attacks if attack.kind == kind]
                paid = hits(scorer, tried, options.workers)
                _show(kind, len(tried), paid, sum(attack.same_text for attack in paid))
            either = [{*map(id, hits(scorer, side, options.workers))} for side in zip(*pairs, strict=True)]
        finally:
            scorer.close()
        both = [one for one, other in pairs if id(one) in either[0] and id(other) in either[1]]
        _show("two answers, for both", len(pairs), both, 0)
        one = [attack for pair in pairs for attack in pair if id(attack) in either[0] | either[1]]
        _show("two answers, for one", 2 * len(pairs), one, 0)


def _show(kind: str, tried: int, paid: Sequence[Attack], same: int) -> None:
    print(f"  {kind:<24} {len(paid):>5} of {tried:<6} same text {same}", flush=True)
    for attack in [attack for attack in paid if not attack.same_text][:5]:
        print(f"      {attack.gold[-60:]!r} <- {attack.response[-110:]!r}", flush=True)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    main()
