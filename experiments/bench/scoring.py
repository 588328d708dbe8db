"""How long scoring takes: stored responses judged by each scorer, and how many of them need a separate process.

python -m experiments.bench.scoring [--responses 10000] [--file SAMPLES.jsonl] [--json FILE]

Without a file, responses are synthetic, the same every time: AIME integers in the forms that models write, LaTeX that only
computer algebra can compare, responses truncated before an answer, and responses without one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dapoctl.evaluation.rescoring import Responses, read_responses, rescore
from dapoctl.tasks.meaning import Meaning
from dapoctl.tasks.scorers import SCORERS
from dapoctl.tasks.verify import Verdict

STEPS = (
    "Let $x$ be the number of tiles, so that $3x + {a} = {b}$.",
    "By the law of cosines, $c^2 = {a}^2 + {b}^2 - 2 \\cdot {a} \\cdot {b} \\cos \\gamma$.",
    "There are $\\binom{{{a}}}{{2}}$ pairs, and each of them is counted {b} times.",
    "The remainder of {a} modulo {b} follows from Fermat's little theorem.",
    "We substitute $y = \\frac{{{a}}}{{{b}}}$ and simplify.",
)
INTEGERS = (
    "Answer: {}",
    "Answer: ${}$",
    "Answer: $\\boxed{{{}}}$",
    "**Answer:** {}",
    "So it is $\\boxed{{{}}}$.",
    "Answer: {}.",
)
FORMULAS = ("Answer: $\\frac{{{0}}}{{{1}}}$", "Answer: $\\sqrt{{{0}}} + {1}$", "Answer: $({0}, \\frac{{\\pi}}{{{1}}})$")
GOLDS = ("\\frac{{{0}}}{{{1}}}", "{1} + \\sqrt{{{0}}}", "\\left( {0}, \\frac{{\\pi}}{{{1}}} \\right)")


def make_up(count: int) -> list[dict[str, Any]]:
    """Rows with `answer` and `response`: 60% integers, 15% formulas, 20% truncated, 5% without an answer."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        steps = [
            draw.choice(STEPS).format(a=draw.randrange(2, 999), b=draw.randrange(2, 999))
            for _ in range(draw.randrange(5, 60))
        ]
        kind, gold, answer = draw.random(), str(draw.randrange(1000)), ""
        if kind < 0.6:
            answer = draw.choice(INTEGERS).format(gold if draw.random() < 0.4 else draw.randrange(1000))
        elif kind < 0.75:
            values, which = (draw.randrange(2, 99), draw.randrange(2, 99)), draw.randrange(len(FORMULAS))
            gold = GOLDS[which].format(*values)
            answer = FORMULAS[which].format(*(values if draw.random() < 0.5 else values[::-1]))
        elif kind > 0.95:
            steps = ["I am not sure how to go on from here."] * len(steps)
        rows.append({"problem": f"p{number}", "sample": 0, "answer": gold, "response": "\n".join([*steps, answer])})
    return rows


def main() -> None:
    """Score and print seconds by scorer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=10_000)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    responses = read_responses(options.file) if options.file else Responses(Path("made up"), make_up(options.responses))
    rows = responses.rows
    decided = sum(by_text(row["response"], row["answer"]) for row in rows)
    mean = sum(len(row["response"]) for row in rows) / len(rows)
    print(f"{len(rows)} responses of {mean:.0f} characters on average, {decided} decided by text alone")
    print(f"{options.workers} workers on {len(os.sched_getaffinity(0))} cores")
    figures: dict[str, Any] = {"responses": len(rows), "decided by text": decided, "workers": options.workers}
    for name in SCORERS:
        begun, spent = time.perf_counter(), cpu_seconds()
        verdicts = rescore(responses, [name], options.workers).verdicts[name]
        seconds, spent = time.perf_counter() - begun, cpu_seconds() - spent
        counts = dict(Counter(verdict.outcome for verdict in verdicts))
        print(f"{name:<12} {seconds:7.1f} s   {spent:7.1f} CPU s   {counts}", flush=True)
        figures[name] = {"seconds": seconds, "cpu seconds": spent, **counts}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def cpu_seconds() -> float:
    """CPU seconds of this process and its ended children, which other programs hardly affect."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class _Text(Meaning):
    """The scorer `math` without processes: what it would ask one is a timeout."""

    def ask(self, answer: str, gold: str, *, marked: bool, exact: bool = False) -> Verdict:  # noqa: ARG002 - as there
        return Verdict("timeout")


def by_text(response: str, gold: str) -> bool:
    """Whether the scorer `math` needs no process for this pair."""
    return _Text(1).verify(response, gold).outcome != "timeout"


if __name__ == "__main__":
    main()
