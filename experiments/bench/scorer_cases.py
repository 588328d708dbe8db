"""How far each scorer agrees with labels that others gave: a table by source, of cases in a JSON-lines file.

python -m experiments.bench.scorer_cases CASES.jsonl [--scorer math ...] [--list NAME] [--json FILE]

A case has `source`, `gold`, `response` and `expected`, and may have a `question`. FP is called right against the label, FN not.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dapoctl.errors import DapoctlError
from dapoctl.tasks.scorers import SCORERS, build_scorer, check_scorer

LIMIT_S = 5.0


def main() -> None:
    """Judge every case by each scorer and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--scorer", action="append", metavar="NAME", help=f"default: all of {', '.join(SCORERS)}")
    parser.add_argument("--list", metavar="NAME", help="print the cases that this scorer disagrees with")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        names = [check_scorer(name) for name in options.scorer or SCORERS]
        cases = read(options.cases)
    except DapoctlError as error:
        parser.error(str(error))
    verdicts = {name: judge(name, cases, options.workers) for name in names}
    figures = table(cases, verdicts)
    print("\n".join(lines(figures, names)))
    for number, case in enumerate(cases) if options.list else ():
        if (verdicts[options.list][number] == "right") != case["expected"]:
            print(f"{number} {'FN' if case['expected'] else 'FP'} {case['gold'][:90]!r} {case['response'][-110:]!r}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The cases of a file.

    Raises:
        DapoctlError: it cannot be read, or a line lacks a field.
    """
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DapoctlError(f"{path} cannot be read: {error}; it needs a JSON object on each line") from None
    for number, case in enumerate(found, 1):
        missing = [key for key in ("source", "gold", "response", "expected") if key not in case]
        if missing:
            raise DapoctlError(f"{path}, case {number}: no `{missing[0]}`")
    return found


def judge(name: str, cases: Sequence[dict[str, Any]], workers: int) -> list[str]:
    """The outcome of every case."""
    scorer = build_scorer(name, workers, LIMIT_S)
    try:
        with ThreadPoolExecutor(workers) as threads:
            return list(
                threads.map(lambda c: scorer.verify(c["response"], c["gold"], c.get("question", "")).outcome, cases)
            )
    finally:
        scorer.close()


def table(cases: Sequence[dict[str, Any]], verdicts: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """By source (and `all`): the number of cases, and each scorer's (agreements, false positives, false negatives)."""
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"n": 0, **{name: [0, 0, 0] for name in verdicts}})
    for number, case in enumerate(cases):
        for source in (case["source"], "all"):
            found[source]["n"] += 1
            for name, outcomes in verdicts.items():
                right = outcomes[number] == "right"
                found[source][name][0 if right == case["expected"] else 1 if right else 2] += 1
    return {source: found[source] for source in [*sorted(found.keys() - {"all"}), "all"]}


def lines(figures: dict[str, dict[str, Any]], names: Sequence[str]) -> list[str]:
    """The table as text: agreement in percent, FP/FN."""
    width = max(map(len, figures))
    found = [f"{'source':<{width}} {'n':>5}" + "".join(f" {name + ' FP/FN':>20}" for name in names)]
    for source, row in figures.items():
        cells = [f"{row[name][0] / row['n']:.1%} {row[name][1]}/{row[name][2]}" for name in names]
        found.append(f"{source:<{width}} {row['n']:>5}" + "".join(f" {cell:>20}" for cell in cells))
    return found


if __name__ == "__main__":
    main()
